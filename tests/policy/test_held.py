"""What an instance holds: the earliest deadline first, alone before together, offline last, and nobody lost."""

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.bus.progress import Progress
from infaas.schemas.headers import Travel
from infaas.schemas.profile import BatchPoint, Profile
from infaas.workers.batching import Waiting, passed_over
from infaas.workers.held import Held
from infaas.workers.partition import Partition
from infaas.workers.poison import Start
from infaas.workers.work import Work

settings.register_profile("policy", deadline=None, max_examples=150)
settings.load_profile("policy")

NOW = 1_000_000.0
PROFILE = Profile(
    load_ms=1, peak_memory_bytes=1, accuracy=1, slope=1, intercept=9,
    points=(BatchPoint(batch=1, p50_ms=10, p99_ms=12), BatchPoint(batch=4, p50_ms=13, p99_ms=15)),
)  # fmt: skip


class Stands:
    topic, partition = "work", 0

    def __init__(self, offset):
        self.offset = offset


def work(offset, deadline=math.inf, *, offline=False, alone=False):
    part = Partition("work", 0, Progress(0), Start(offset + 1 if alone else 0), 0, offline=offline)
    until = NOW + deadline
    return Work(part, Stands(offset), Travel(str(offset), NOW, until, until))


def batches(held):
    expired = []
    while held:
        alone = held.first_alone if held.next_is_alone else None
        if alone is not None:
            held.take_alone(alone)
            yield [alone], expired
            continue
        batch = held.take_batch(NOW, lambda _: True, expired.append)
        yield batch, expired


deadlines = st.sampled_from([-5.0, 5.0, 11.0, 12.0, 14.0, 20.0, 40.0, 100.0])
works = st.lists(st.tuples(st.booleans(), st.booleans(), deadlines), max_size=25)


@given(works)
def test_each_is_run_or_expired_once_and_in_order(many):
    held = Held(PROFILE)
    added = [
        work(n, math.inf if offline else deadline, offline=offline, alone=alone)
        for n, (offline, alone, deadline) in enumerate(many)
    ]
    for one in added:
        held.add(one)
    run, kinds, gone = [], [], []
    for batch, expired in batches(held):
        gone = expired
        assert len(batch) == 1 or not any(one.alone for one in batch)
        assert len(batch) <= PROFILE.max_batch
        run += batch
        kinds += [(one.offline, not one.alone) for one in batch]
    assert Counter(one.record.offset for one in [*run, *gone]) == Counter(range(len(many)))
    assert kinds == sorted(kinds), "online before offline, and of each what runs alone first"
    assert all(one.travel.drop_after_ms < NOW + 10 for one in gone)


def test_the_earliest_deadline_goes_first_whoever_came_first():
    held = Held(PROFILE)
    for n, deadline in enumerate((5000.0, 4000.0, 3000.0, 2000.0, 1000.0, 25.0)):
        held.add(work(n, deadline))
    first, _ = next(batches(held))
    assert [one.record.offset for one in first] == [5, 4, 3, 2]


def test_what_would_be_late_by_the_time_it_was_answered_is_not_run():
    held = Held(PROFILE)
    held.add(work(0, 9.0))
    held.add(work(1, 30.0))
    assert [one.record.offset for one in held.take_expired(NOW)] == [0]
    assert [[one.record.offset for one in batch] for batch, _ in batches(held)] == [[1]]


def test_what_is_left_to_the_next_owner_of_a_partition_is_taken_out():
    held = Held(PROFILE)
    kept = work(1)
    kept.part.partition = 9
    for one in (work(0), kept, work(2, offline=True), work(3, alone=True)):
        held.add(one)
    assert sorted(one.record.offset for one in held.take_partition(0)) == [0, 2, 3]
    assert [[one.record.offset for one in batch] for batch, _ in batches(held)] == [[1]]


def latency(rows):
    return PROFILE.latency_ms(rows)


def kept(queue, skip):
    """How many are in time when the first are passed over; the plain way."""
    now, left, count = NOW, list(queue[skip:]), 0
    while left:
        if now + latency(1) > left[0].deadline_ms:
            left.pop(0)
            continue
        size = max(n for n in range(1, 5) if n <= len(left) and (n == 1 or now + latency(n) <= left[0].deadline_ms))
        now, count, left = now + latency(size), count + size, left[size:]
    return count


@given(st.lists(st.floats(0, 120), min_size=1, max_size=20))
def test_passing_some_over_never_keeps_fewer(slack):
    queue = [Waiting(1, NOW + s, "a") for s in sorted(slack)]
    skip = passed_over(queue, NOW, max_rows=4, latency_ms=latency)
    assert 0 <= skip < len(queue)
    assert kept(queue, skip) >= kept(queue, 0)
    if skip:
        assert kept(queue, skip) > kept(queue, 0), "nobody is passed over for nothing"


def test_under_overload_one_that_fits_only_alone_does_not_make_four_late():
    queue = [Waiting(1, NOW + 10.5, "a"), *[Waiting(1, NOW + 14.0, "a")] * 4]
    assert passed_over(queue, NOW, max_rows=4, latency_ms=latency) == 1
    assert passed_over(queue[:1], NOW, max_rows=4, latency_ms=latency) == 0


def test_what_a_batch_takes_beside_its_model_counts_as_well():
    """Else all that is answered under overload is a little late: each batch is as large as its head's deadline allows."""
    held = Held(PROFILE)
    for _ in range(200):
        held.ran(4, took_ms=13 + 12 * 1.0)
    for offset, deadline in ((1, 24.6), (2, 200.0), (3, 200.0), (4, 200.0)):
        held.add(work(offset, deadline))
    (batch, expired) = next(batches(held))
    assert expired == []
    assert [one.record.offset for one in batch] == [1, 2, 3], "three rows take 12 + 11 + 1.5 ms, four would take 26.5"


def test_a_query_expires_by_what_its_model_takes_and_not_by_what_has_been_slow():
    """What is not run teaches nothing: a stall would go on being believed for as long as it expired all that came."""
    held = Held(PROFILE)
    for _ in range(200):
        held.ran(1, took_ms=500.0)
    for offset, deadline in ((0, 9.0), (1, 20.0)):
        held.add(work(offset, deadline))
    (batch, expired) = next(batches(held))
    assert [one.record.offset for one in expired] == [0], "10 ms is what a row takes at least"
    assert [one.record.offset for one in batch] == [1]


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.floats(0, 120), st.sampled_from(["a", "a", "a", "b"])), min_size=1, max_size=8
    )
)
def test_where_all_are_in_time_together_choosing_would_take_all(many):
    held = Held(PROFILE)
    ones = [work(n, deadline) for n, (_, deadline, _) in enumerate(sorted(many, key=lambda one: one[1]))]
    for one, (rows, _, kind) in zip(ones, sorted(many, key=lambda one: one[1]), strict=True):
        one.rows, one.row = rows, ((kind, (2,)),)
    if held._all_in_time(ones, NOW):
        assert held._choose(ones, NOW) == set(range(len(ones)))
