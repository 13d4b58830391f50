"""A checker that can't fail is worthless: in a sound history it finds nothing, and it finds each fault that is planted."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.bench.checker import Findings, check
from infaas.bench.history import CommitEntry, Entry, History, Shown, read_commit
from infaas.schemas import oip
from infaas.schemas.headers import headers_of
from infaas.schemas.oip import InferRequest, InferResponse

VARIANT = "double.v1.onnxruntime-cpu1-fp32"
GROUPS = dict(queries_group="router", work_group="work")


def expected(query, variant):
    if variant != VARIANT:
        return None
    return {"y": oip.decode_request(query.value).inputs["x"] * 2}


def headers(**given):
    return dict(headers_of((f"infaas-{name.replace('_', '-')}", value) for name, value in given.items()))


def query(n, **asked):
    value, _ = oip.encode_request(InferRequest({"x": np.full((1, 2), float(n), np.float32)}))
    return Entry("queries", n % 2, n // 2, 1000.0 + 10 * n, value, None, {**headers(**asked), "ce_id": b"c%d" % n})


def reply(asked, at_ms, *, outcome="ok", output=None, variant=VARIANT, accuracy=0.9, met=True):
    x = oip.decode_request(asked.value).inputs["x"]
    value, _ = oip.encode_response(InferResponse(variant, {"y": x * 2 if output is None else output}), binary=False)
    told = headers(outcome=outcome, query_id=asked.position, variant=variant, accuracy=accuracy, objective_met=met)
    return Entry("replies", 0, int(asked.position.split("-")[-1]), at_ms, value, None, told)


def sound(asked):
    """Every query dispatched, run, answered, committed."""
    queries = tuple(query(n, **more) for n, more in enumerate(asked))
    work = tuple(
        Entry("work.v", 0, n, q.at_ms + 1, q.value, None, headers(query_id=q.position)) for n, q in enumerate(queries)
    )
    replies = tuple(reply(q, q.at_ms + 5) for q in queries)
    end = 1000.0 + 10 * len(queries) + 100
    commits = [CommitEntry("router", "queries", q.partition, q.offset + 1, q.at_ms + 4) for q in queries]
    commits += [CommitEntry("work", "work.v", 0, n + 1, r.at_ms + 1) for n, r in enumerate(replies)]
    shown = tuple(Shown(f"c{n}", q.position, "ok") for n, q in enumerate(queries))
    commits.append(CommitEntry("elsewhere", "queries", 0, 10**6, end))
    return History(
        queries, (), work, replies, (), tuple(commits), shown, confirmed=frozenset(q.position for q in queries)
    )


def letter(asked, at_ms):
    error = {f"__connect.errors.{k}": str(v).encode() for k, v in (("topic", asked.topic), ("partition", asked.partition), ("offset", asked.offset))}  # fmt: skip
    return Entry("dead-letters", 0, 0, at_ms, asked.value, None, error)


def without_reply(history, n):
    place = history.queries[n].position
    return dataclasses.replace(history, replies=tuple(r for r in history.replies if r.query != place))


def with_reply(history, n, **more):
    asked = history.queries[n]
    at_ms = more.pop("at_ms", asked.at_ms + 5)
    return dataclasses.replace(without_reply(history, n), replies=(*without_reply(history, n).replies, reply(asked, at_ms, **more)))  # fmt: skip


def untold(history, n):
    return dataclasses.replace(history, shown=tuple(s for s in history.shown if s.asked != f"c{n}"))


def lose(history, n):
    return without_reply(untold(history, n), n)


def show_what_nobody_said(history, n):
    return without_reply(history, n)


def leave_unanswered(history, n):
    return dataclasses.replace(without_reply(untold(history, n), n), dead_letters=(letter(history.queries[n], history.queries[n].at_ms + 2),))  # fmt: skip


def tell_nothing(history, n):
    shown = [s if i != n else Shown(s.asked, error="timeout") for i, s in enumerate(history.shown)]
    return dataclasses.replace(history, shown=tuple(shown))


def show_nothing(history, n):
    return dataclasses.replace(untold(history, n), callers=("c",))


def answer_wrongly(history, n):
    return with_reply(history, n, output=np.full((1, 2), -1, np.float32))


def answer_with_more_rows(history, n):
    return with_reply(history, n, output=np.full((2, 2), 2.0 * n, np.float32))


def answer_by_an_unknown_variant(history, n):
    return with_reply(history, n, variant="other.v1.onnxruntime-cpu1-fp32")


def show_somebody_elses(history, n):
    shown = [s if i != n else dataclasses.replace(s, asked="other") for i, s in enumerate(history.shown)]
    return dataclasses.replace(history, shown=tuple(shown))


def fall_below_the_floor(history, n):
    return with_reply(history, n, accuracy=0.2)


def be_late_and_unmarked(history, n):
    later = tuple(dataclasses.replace(c, at_ms=c.at_ms + 10_000) for c in history.commits)
    return with_reply(dataclasses.replace(history, commits=later), n, at_ms=history.queries[n].at_ms + 500)


def be_overtaken(history, n):
    """On its way when something broke: its header is wrong, and the log shows it."""
    late = be_late_and_unmarked(history, n)
    due = f"{history.queries[n].at_ms + float(history.queries[n].headers['infaas-latency-ms']):.0f}".encode()
    replies = (r if r.query != history.queries[n].position else dataclasses.replace(r, headers={**r.headers, "infaas-due": due}) for r in late.replies)  # fmt: skip
    return dataclasses.replace(late, replies=tuple(replies))


def be_overtaken_and_tell_the_caller_otherwise(history, n):
    shown = [s if i != n else dataclasses.replace(s, met=True) for i, s in enumerate(history.shown)]
    return dataclasses.replace(be_overtaken(history, n), shown=tuple(shown))


def double(history, n):
    return dataclasses.replace(
        history, replies=(*history.replies, reply(history.queries[n], history.queries[n].at_ms + 7))
    )


def forget_a_confirmed_one(history, n):
    return dataclasses.replace(history, confirmed=history.confirmed | {"queries-7-7"})


def commit_queries_early(history, n):
    asked = history.queries[n]
    return dataclasses.replace(history, commits=(*history.commits, CommitEntry("router", "queries", asked.partition, asked.offset + 1, asked.at_ms + 0.5)))  # fmt: skip


def commit_work_early(history, n):
    return dataclasses.replace(history, commits=(*history.commits, CommitEntry("work", "work.v", 0, n + 1, history.queries[n].at_ms + 2)))  # fmt: skip


def commit_backwards(history, n):
    return dataclasses.replace(history, commits=(*history.commits, CommitEntry("work", "work.v", 0, 0, 10**7)))


PLANTED = {
    lose: {"lost", "passed"},
    show_what_nobody_said: {"lost", "passed", "wrong"},
    leave_unanswered: {"unanswered"},
    tell_nothing: {"unanswered"},
    show_nothing: {"unanswered"},
    answer_wrongly: {"wrong"},
    answer_with_more_rows: {"wrong"},
    answer_by_an_unknown_variant: {"wrong"},
    show_somebody_elses: {"wrong"},
    fall_below_the_floor: {"below_floor"},
    be_late_and_unmarked: {"late_unmarked"},
    be_overtaken: {"overtaken"},
    be_overtaken_and_tell_the_caller_otherwise: {"overtaken", "late_unmarked"},
    double: {"doubled"},
    forget_a_confirmed_one: {"lost"},
    commit_queries_early: {"passed"},
    commit_work_early: {"passed"},
    commit_backwards: {"back"},
}
OBJECTIVES = st.fixed_dictionaries(
    {
        "application": st.just("numbers"),
        "latency_ms": st.sampled_from([50, 200]),
        "min_accuracy": st.sampled_from([0.5, 0.8]),
    }
)


def kinds(found):
    return {
        f.name for f in dataclasses.fields(found) if f.name not in ("queries", "commits") and getattr(found, f.name)
    }


@given(st.lists(OBJECTIVES, min_size=1, max_size=12))
def test_a_sound_history_has_no_findings(asked):
    assert check(sound(asked), expected, **GROUPS) == Findings(queries=len(asked), commits=2 * len(asked))


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
@settings(max_examples=30)
@given(data=st.data(), asked=st.lists(OBJECTIVES, min_size=1, max_size=12))
def test_each_planted_fault_is_found_and_nothing_else(plant, data, asked):
    n = data.draw(st.integers(0, len(asked) - 1))
    found = check(plant(sound(asked), n), expected, **GROUPS)
    assert kinds(found) == PLANTED[plant]
    places = {place for kind in PLANTED[plant] for place in getattr(found, kind)}
    assert places & {f"queries-{n % 2}-{n // 2}", f"work.v-0-{n}", f"c{n}", "queries-7-7", "work:work.v-0@0"}


SOFT = {"application": "numbers", "latency_ms": 50, "min_accuracy": 0.8, "strict": False}


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        (SOFT, fall_below_the_floor),
        ({"application": "numbers"}, be_late_and_unmarked),
        ({**SOFT, "deadline": 5000}, be_late_and_unmarked),
        (SOFT, lambda history, n: with_reply(history, n, at_ms=2000.0, met=False)),
        (SOFT, lambda history, n: with_reply(history, n, outcome="expired", at_ms=2000.0)),
    ],
    ids=["soft floor", "offline", "absolute deadline", "late and marked", "expired"],
)
def test_what_is_allowed_is_no_finding(asked, change):
    history = dataclasses.replace(change(sound([asked]), 0), commits=())
    assert check(history, expected, **GROUPS) == Findings(queries=1)


def test_a_caller_that_died_or_knows_that_it_was_not_confirmed_waits_for_nothing():
    history = sound([{"application": "numbers"}])
    died = dataclasses.replace(untold(history, 0), callers=("d",))
    knows = dataclasses.replace(history, shown=(Shown("c0", error="delivery_failed"),), callers=("c",))
    assert kinds(check(died, expected, **GROUPS)) == kinds(check(knows, expected, **GROUPS)) == set()


def test_work_that_was_returned_may_be_committed():
    history = sound([{"application": "numbers"}])
    asked = history.queries[0]
    back = Entry("returns", 0, 0, asked.at_ms + 2, asked.value, None, headers(query_id=asked.position))
    early = CommitEntry("work", "work.v", 0, 1, asked.at_ms + 3)
    history = dataclasses.replace(history, returns=(back,), commits=(*history.commits, early))
    assert check(history, expected, **GROUPS) == Findings(queries=1, commits=3)


def test_a_commit_is_no_finding_where_the_work_before_it_was_deleted_unread():
    history = commit_queries_early(sound([{"application": "numbers"}]), 0)
    at_ms = history.commits[-1].at_ms
    assert kinds(check(dataclasses.replace(history, gaps=((at_ms - 1, at_ms + 1),)), expected, **GROUPS)) == set()
    assert kinds(check(dataclasses.replace(history, gaps=((0.0, at_ms - 1001),)), expected, **GROUPS)) == {"passed"}


def test_a_commit_of_the_coordinators_log_is_read():
    def string(text):
        return struct.pack(">h", len(text)) + text.encode()

    key = struct.pack(">h", 1) + string("g") + string("t") + struct.pack(">i", 3)
    value = struct.pack(">hqi", 3, 42, -1) + string("meta") + struct.pack(">q", 0)
    assert read_commit(Entry("x", 0, 0, 5.0, value, key)) == CommitEntry("g", "t", 3, 42, 5.0)
    assert read_commit(Entry("x", 0, 0, 5.0, None, key)) is None
    assert read_commit(Entry("x", 0, 0, 5.0, b"members", struct.pack(">h", 2) + string("g"))) is None
