"""Nothing that stands in a metadata record stops a reader."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from infaas.schemas.headers import BOOT_ID, EPOCH
from infaas.schemas.metadata import Instance, Leader, Placement, Verdict, Worker, encode
from infaas.store.boot import is_boot_id, next_boot_id
from infaas.store.picture import Picture


@dataclass
class Found:
    """A record as the picture reads it."""

    offset: int
    key: bytes | None
    value: bytes | None
    header_map: dict = field(default_factory=dict)

    @property
    def tombstone(self):
        return self.value is None


HARDWARE = {"cores": 1, "memory_bytes": 1}
GOOD = [
    Leader(role="scaler", nonce="n", claimed_at_ms=1),
    Placement(worker="w", variant="a.v1.onnxruntime-cpu1-fp32", instances=1),
    Verdict(worker="w", boot_id="1"),
    Worker(worker="w", boot_id="1", machine_type="m", hardware=HARDWARE, price_per_hour=0.1),
]
KEYS = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from([r.key.encode() for r in GOOD]),
    st.sampled_from([b"worker", b"worker/", b"instance", b"placement/", b"leader/scaler", b"/", b"unknown/x"]),
)
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([encode(r) for r in GOOD]),
    st.sampled_from(
        [b'{"kind": "unknown"}', b'{"kind": []}', b"[" * 100_000, b'{"kind":"leader","role":"\xff"}', b"1e999"]
    ),
)
WRITERS = st.one_of(
    st.none(), st.text(max_size=8), st.binary(max_size=8), st.sampled_from(["²", "٣", b"9" * 10_000, "1", "-1", "1_0"])
)
RECORDS = st.lists(st.tuples(KEYS, VALUES, WRITERS, WRITERS), max_size=30)


@given(RECORDS)
def test_no_record_stops_a_reader_and_what_is_ignored_changes_nothing(records):
    picture = Picture()
    for offset, (key, value, epoch, boot) in enumerate(records):
        before = dict(picture.view().records)
        change = picture.read(Found(offset, key, value, {EPOCH: epoch, BOOT_ID: boot}))
        picture.apply(change)
        after = picture.view()
        assert after.offset == offset + 1
        if change.ignored:
            assert dict(after.records) == before
        for name, record in after.records.items():
            assert record.key == name


def test_headers_that_can_not_be_read_are_the_records_own_failure():
    class Unreadable(Found):
        @property
        def header_map(self):
            raise SystemError("a header's name is no UTF-8")

        @header_map.setter
        def header_map(self, value): ...

    picture = Picture()
    change = picture.read(Unreadable(0, GOOD[2].key.encode(), encode(GOOD[2])))
    assert change.ignored
    picture.apply(change)
    assert picture.view().offset == 1
    assert not picture.view().records


def test_an_unreadable_claim_is_nobodys():
    picture = Picture()
    picture.apply(picture.read(Found(0, b"leader/registrar", encode(GOOD[0]))))
    assert picture.epochs == {}
    picture.apply(picture.read(Found(1, GOOD[0].key.encode(), encode(GOOD[0]))))
    assert picture.epochs == {"scaler": 1}


GARBAGE = st.one_of(
    st.text(max_size=12), st.sampled_from(["~", "zzz", "c000000000001-00000000", "b2", "0190f3c2"])
).filter(lambda text: not is_boot_id(text))


@given(st.lists(GARBAGE, max_size=4), st.lists(GARBAGE, max_size=4))
def test_what_is_no_boot_id_hides_no_life_and_makes_no_fact_void(before, after):
    """Records under `worker/` may be anybody's who may write there; one with a high enough word made every life after it void."""
    first = next_boot_id([])
    second = next_boot_id([first])
    lives = [*before, first, *after, second, *after]
    picture = Picture()
    for offset, boot_id in enumerate(lives):
        record = worker(boot_id)
        picture.apply(picture.read(Found(offset, record.key.encode(), encode(record), {BOOT_ID: boot_id.encode()})))
    fact = Instance(worker="w", boot_id=second, variant="v", instance=0, state="active")
    picture.apply(picture.read(Found(99, fact.key.encode(), encode(fact), {BOOT_ID: second.encode()})))
    verdict = Verdict(worker="w", boot_id=(after or ["~"])[0])
    picture.apply(picture.read(Found(100, verdict.key.encode(), encode(verdict), {EPOCH: b"0"})))
    view = picture.view()
    assert view.live_workers["w"].boot_id == second
    assert view.instances == {("w", "v", 0): fact}
    assert picture.boots == {"w": second}
    assert next_boot_id(picture.boots.values()) > second


def test_a_life_counts_after_a_record_that_is_no_lifes():
    picture, first = Picture(), next_boot_id([])
    for offset, boot_id in enumerate(["zzz", first]):
        record = worker(boot_id)
        change = picture.read(Found(offset, record.key.encode(), encode(record), {BOOT_ID: boot_id.encode()}))
        assert not change.ignored
        picture.apply(change)
    assert picture.view().live_workers["w"].boot_id == first


def worker(boot_id):
    return Worker(worker="w", boot_id=boot_id, machine_type="m", hardware=HARDWARE, price_per_hour=0.1)
