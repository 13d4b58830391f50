"""What is usable of a pool of servers: monotone, below full use, and as a simulation of the queue says."""

import math
import random
from heapq import heapify, heapreplace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.policy.capacity import capacity
from infaas.policy.fits import OVERHEAD_MS
from infaas.policy.queueing import MISSES, Z99, mean_of, shared_share, usable_share
from infaas.policy.usable import rates, tolerable_rate, usable_rate
from infaas.schemas.profile import BatchPoint, Profile

settings.register_profile("policy", deadline=None, max_examples=60)
settings.load_profile("policy")

tails, rooms, servers = st.floats(1.0, 3.0), st.floats(0.5, 40.0), st.integers(1, 20)


def late_share(tail, room, servers, share, queries=60_000):
    """First come, first served, by chance."""
    draw, sigma = random.Random(7), math.log(tail) / Z99
    free, now, late = [0.0] * servers, 0.0, 0
    heapify(free)
    for _ in range(queries):
        now += draw.expovariate(share * servers / mean_of(tail))
        end = max(now, free[0]) + math.exp(sigma * draw.gauss(0.0, 1.0))
        heapreplace(free, end)
        late += end - now > room
    return late / queries


@pytest.mark.parametrize("servers", [1, 2, 4])
@pytest.mark.parametrize(
    ("tail", "room"),
    [(1.0, 1.73), (1.0, 2.5), (45 / 33, 1.73), (45 / 33, 5.0), (2.0, 2.5), (2.0, 5.0)],
    ids=["M/D tight", "M/D", "M/G tight", "M/G loose", "long tail tight", "long tail"],
)
def test_of_what_is_usable_one_in_a_hundred_is_late(tail, room, servers):
    late = late_share(tail, room, servers, usable_share(tail, room, servers))
    assert 0.5 * MISSES < late < 1.4 * MISSES


def test_one_server_with_one_service_time_is_as_erlang_found():
    """P(W <= t) = (1 - rho) exp(rho t) below one service time."""
    for slack in (0.2, 0.5, 0.75):
        share = usable_share(1.0, 1.0 + slack, 1)
        assert (1 - share) * math.exp(share * slack) == pytest.approx(1 - MISSES, abs=2e-4)


@given(tails, rooms, servers, st.floats(0, 5), st.floats(0, 1), st.integers(0, 10))
def test_more_room_shorter_tails_and_more_servers_never_mean_less(tail, room, servers, more, longer, others):
    share = usable_share(tail, room, servers)
    assert 0 <= share < 1
    assert usable_share(tail, room + more, servers) >= share
    assert usable_share(tail + longer, room, servers) <= share
    assert usable_share(tail, room, servers + others) >= share
    assert shared_share(tail, room + more, servers) >= shared_share(tail, room, servers)


@given(
    st.lists(st.tuples(st.floats(0.2, 1.0), st.floats(1, 2)), min_size=1, max_size=4),
    st.floats(1, 500),
    st.floats(0, 500),
    st.floats(1, 1.5),
    servers,
)
def test_of_a_profile_likewise_and_never_more_than_it_can(shape, latency, more, longer, instances):
    points = [(b, 10.0 * (1 + each * (b - 1)), tail) for b, (each, tail) in zip((1, 2, 4, 8), shape, strict=False)]
    one, worse = (
        Profile(
            load_ms=1,
            peak_memory_bytes=1,
            accuracy=1,
            slope=1,
            intercept=1,
            points=tuple(BatchPoint(batch=b, p50_ms=ms, p99_ms=ms * tail * by) for b, ms, tail in points),
        )
        for by in (1.0, longer)
    )
    rate = usable_rate(one, latency, instances)
    assert rate <= capacity(one, latency) * (1 + 1e-9)
    assert usable_rate(one, latency + more, instances) >= rate
    assert usable_rate(worse, latency, instances) <= rate * (1 + 1e-9)
    assert usable_rate(one, latency, instances + 1) >= rate
    found = rates(one, latency)
    for steps in (found.own, found.later):
        assert list(steps) == sorted(steps), "more of them never take less each"
    assert dict(found.later).get(1, 0.0) >= dict(found.own).get(1, 0.0)


def test_what_is_late_by_itself_is_not_usable_and_only_better_than_nothing():
    tail = (BatchPoint(batch=1, p50_ms=33.0, p99_ms=58.0),)
    one = Profile(load_ms=1, peak_memory_bytes=1, accuracy=1, slope=33, intercept=0, points=tail)
    assert 60.0 - OVERHEAD_MS < 58.0
    assert usable_rate(one, 60.0, 8) == 0.0 < tolerable_rate(one, 60.0)
    assert tolerable_rate(one, 57.0) == 0.0, "below its 99th percentile it is not even that"
