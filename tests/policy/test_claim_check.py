"""Claim check: what was put is there for as long as anybody may want it, and no longer."""

import threading
from pathlib import Path

import pytest

from infaas.bus import sweep
from infaas.bus.claim_check import ClaimCheck
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import ArtifactError, BadHeader
from infaas.schemas.headers import CLAIM_CHECK

LIMIT = 64 * 1024
DAY_S = 86_400.0
NOON_S = 20_000 * DAY_S + DAY_S / 2


def value(n: int) -> bytes:
    return bytes([n]) * (LIMIT + 1)


class Days:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def days():
    return Days()


@pytest.fixture
def settings(tmp_path):
    return BusSettings(max_query_bytes=LIMIT, payload_url=tmp_path.as_uri(), payload_days=8)


def stored(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_small_value_travels_in_its_record_and_a_long_key_leaves_less_room(settings, tmp_path):
    claims = ClaimCheck(settings)
    assert claims.put(b"v") == (b"v", [])
    assert claims.put(bytes(LIMIT // 2)) == (bytes(LIMIT // 2), [])
    assert stored(tmp_path) == 0
    sent, reference = claims.put(bytes(LIMIT // 2), beside=bytes(LIMIT // 2))
    assert (sent, claims.get(sent, dict(reference))) == (b"", bytes(LIMIT // 2))


def test_what_nobody_can_want_any_more_goes_with_the_puts_of_others(settings, days, tmp_path):
    claims = ClaimCheck(settings, now_s=days)
    _, old = claims.put(value(0))
    for day in range(1, 9):
        days.now_s = NOON_S + day * DAY_S
        claims.put(value(day))
        assert claims.get(b"", dict(old)) == value(0), f"day {day}"
    days.now_s = NOON_S + 9 * DAY_S
    claims.put(value(9))
    with pytest.raises(ArtifactError):
        claims.get(b"", dict(old))
    assert stored(tmp_path) == 9
    assert len(list(tmp_path.iterdir())) == 9, "an empty folder goes as well"


def test_the_same_value_put_again_is_kept_as_long_as_any(settings, days):
    claims = ClaimCheck(settings, now_s=days)
    _, first = claims.put(value(0))
    days.now_s += 7 * DAY_S
    _, second = ClaimCheck(settings, now_s=days).put(value(0))
    days.now_s += 2 * DAY_S
    claims.put(value(1))
    with pytest.raises(ArtifactError):
        claims.get(b"", dict(first))
    assert claims.get(b"", dict(second)) == value(0)


def test_a_put_waits_for_few_deletions_and_all_are_made_in_time(settings, days, tmp_path):
    before = ClaimCheck(settings, now_s=days)
    many = 10 * sweep.AT_ONCE
    for n in range(many):
        before.put(value(n))
    days.now_s += 30 * DAY_S
    claims = ClaimCheck(settings, now_s=days)
    claims.put(value(0))
    assert stored(tmp_path) == many - sweep.AT_ONCE + 1
    for _ in range(many // sweep.AT_ONCE):
        claims.put(value(0))
    assert stored(tmp_path) == 1


def test_what_can_not_be_deleted_stands_in_nobodys_way(settings, days, tmp_path):
    ClaimCheck(settings, now_s=days).put(value(0))
    for day in ("2000-01-01", "2001-01-01"):
        (tmp_path / day / "no file").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").touch()
    days.now_s += 30 * DAY_S
    claims = ClaimCheck(settings, now_s=days)
    for n in range(4):
        _, reference = claims.put(value(n))
        assert claims.get(b"", dict(reference)) == value(n)
    assert {path.name for path in tmp_path.iterdir()} == {"2000-01-01", "2001-01-01", "mine", "2024-11-03"}
    assert (tmp_path / "mine" / "kept").exists()


def test_many_threads_put_the_same_and_others_while_old_values_go(settings, days, tmp_path):
    for n in range(50):
        ClaimCheck(settings, now_s=days).put(value(n))
    days.now_s += 30 * DAY_S
    shared, wrong = ClaimCheck(settings, now_s=days), []

    def put(claims: ClaimCheck) -> None:
        try:
            for n in range(20):
                _, reference = claims.put(value(n))
                assert claims.get(b"", dict(reference)) == value(n)
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            wrong.append(error)

    threads = [
        threading.Thread(target=put, args=[claims]) for claims in [shared] * 4 + [ClaimCheck(settings, now_s=days)]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert stored(tmp_path) == 20


DIGEST = "sha256:" + "0" * 64
NO_REFERENCE = {
    "no digest": "x",
    "an address": "http://elsewhere/" + "0" * 64,
    "a way out": f"{DIGEST}@../../..",
    "another folder": f"{DIGEST}@etc",
    "digits of another script": DIGEST + "@٢٠٢٠-٠١-٠١",
    "more behind it": f"{DIGEST}@2020-01-01/..",
}


@pytest.mark.parametrize("name", NO_REFERENCE)
def test_a_caller_names_a_value_and_never_a_place(settings, name):
    with pytest.raises(BadHeader, match="64 hex"):
        ClaimCheck(settings).get(b"", {CLAIM_CHECK: NO_REFERENCE[name].encode()})


@pytest.mark.parametrize("reference", [DIGEST, f"{DIGEST}@2020-01-01", f"{DIGEST}@9999-99-99"])
def test_what_is_not_there_is_told_as_such(settings, reference):
    with pytest.raises(ArtifactError, match="not in the repository"):
        ClaimCheck(settings).get(b"", {CLAIM_CHECK: reference.encode()})
