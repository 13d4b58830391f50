"""The next batch: as large as deadlines allow, of one shape, and never nothing while something waits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.workers.batching import Waiting, choose

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

NOW = 1_000_000.0
MAX_ROWS = 16


def line(rows):
    return 2.0 + rows


def flat(rows):
    return 3.0


def steps(rows):
    """Measured curves are not smooth: cheap up to 4 rows, dear beyond."""
    return 2.0 if rows <= 4 else 30.0


waiting = st.builds(
    Waiting,
    rows=st.integers(1, 6) | st.just(MAX_ROWS + 4),
    deadline_ms=st.sampled_from([math.inf, *(NOW + d for d in (-5.0, 2.0, 3.0, 5.0, 8.0, 15.0, 40.0))]),
    shape=st.sampled_from(["a", "a", "a", "b"]),
)
queues = st.lists(waiting, min_size=1, max_size=20)
curves = st.sampled_from([line, flat, steps])


def rows_of(queue, chosen):
    return sum(queue[i].rows for i in chosen)


def late(queue, chosen, latency):
    done = NOW + latency(rows_of(queue, chosen))
    return [i for i in chosen if queue[i].deadline_ms < done]


@given(queues, curves)
def test_a_batch_has_the_head_one_shape_and_no_more_rows_than_allowed(queue, latency):
    chosen = choose(queue, NOW, max_rows=MAX_ROWS, latency_ms=latency)
    assert chosen[0] == 0, "work-conserving, and nobody starves"
    assert chosen == sorted(set(chosen))
    assert {queue[i].shape for i in chosen} == {queue[0].shape}
    assert rows_of(queue, chosen) <= MAX_ROWS or chosen == [0]


@given(queues, curves)
def test_joining_never_makes_late_what_would_have_been_in_time(queue, latency):
    """Only what was late whatever is done may be late in the batch: the head on its own, others behind what they joined."""
    chosen = choose(queue, NOW, max_rows=MAX_ROWS, latency_ms=latency)
    for i in late(queue, chosen, latency):
        ahead = queue[i].rows if i == 0 else rows_of(queue, [j for j in chosen if j < i])
        assert queue[i].deadline_ms < NOW + latency(ahead)


@given(queues, curves)
def test_no_query_is_left_out_that_could_have_joined_without_harm(queue, latency):
    chosen = choose(queue, NOW, max_rows=MAX_ROWS, latency_ms=latency)
    before = late(queue, chosen, latency)
    for i, one in enumerate(queue):
        if i in chosen or one.shape != queue[0].shape or rows_of(queue, chosen) + one.rows > MAX_ROWS:
            continue
        assert len(late(queue, [*chosen, i], latency)) > len(before)


@given(queues, curves)
def test_what_waits_is_answered_in_at_most_as_many_batches_as_there_are_queries(queue, latency):
    left, batches = list(queue), 0
    while left:
        chosen = set(choose(left, NOW, max_rows=MAX_ROWS, latency_ms=latency))
        left = [one for i, one in enumerate(left) if i not in chosen]
        batches += 1
    assert batches <= len(queue)


def query(deadline=math.inf, rows=1, shape="a"):
    return Waiting(rows, NOW + deadline, shape)


TABLE = {
    "alone": ([query()], line, [0]),
    "no deadlines: as many as fit": ([query() for _ in range(20)], line, list(range(16))),
    "a shape that does not stack waits": ([query(), query(shape="b"), query()], line, [0, 2]),
    "the head's deadline bounds the batch": ([query(5.0)] + [query()] * 9, line, [0, 1, 2]),
    "a tight one behind bounds what comes after it": ([query(), query(4.0), query()], line, [0, 1]),
    "one that would be late waits for its own batch": ([query()] * 4 + [query(6.5)], line, [0, 1, 2, 3]),
    "a deadline missed anyway bounds nothing": ([query(-1.0)] + [query()] * 3, line, [0, 1, 2, 3]),
    "a hopeless one does not make the others late": ([query(3.5), query(1.0), query()], line, [0]),
    "a hopeless one that harms nobody joins": ([query(), query(-1.0)], line, [0, 1]),
    "a query beyond the largest batch runs alone": ([query(rows=99), query()], line, [0]),
    "one that is too big lets a smaller one pass": ([query(rows=10), query(rows=9), query(rows=6)], line, [0, 2]),
}


@pytest.mark.parametrize("case", TABLE)
def test_batches(case):
    queue, latency, expected = TABLE[case]
    assert choose(queue, NOW, max_rows=MAX_ROWS, latency_ms=latency) == expected
