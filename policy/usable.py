"""How many queries/s instances can take so that nearly all of them are answered in time: what the scaler plans with. Pure.

`capacity` is what an instance does at full use. But queries come when they like: at full use the queue grows without end. A rate is
usable if at most one query in a hundred is late, of all instances of a variant together: they share a queue, since a router
chooses the one with the least work.

The terms are those by which a router takes or refuses a single query (`policy.fits`): it knows the queue, and asks whether what is
ahead and the query's own mean time fit into what the hops leave of the objective. Here nobody knows the queue yet: what is ahead and
the own time are drawn from how they are distributed, and fit into the same in 99 of 100 cases. So of a load that is usable a
router refuses about as many as would be late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from infaas.policy.capacity import MISSED_BATCH, capacity
from infaas.policy.fits import left_of
from infaas.policy.queueing import MISSES, POOLS, late_alone, mean_of, shared_share, tail_of, usable_share
from infaas.schemas.profile import BatchPoint, Profile

Steps = tuple[tuple[int, float], ...]
"""Queries/s of each instance, from so many instances on; ascending in both."""
WORTH = 1.02
"""A step that is smaller is left out."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What each instance of a variant can take, by how many share the load."""

    own: Steps
    """Of queries within the objective; empty = none at all."""
    later: Steps
    """Of queries that are due later, before those within the objective wait too long for what is under way."""


def usable_rate(profile: Profile, latency_ms: float | None, instances: int = 1) -> float:
    """Queries/s that each of so many instances can take within an objective; 0.0 if they can't meet it at all."""
    if latency_ms is None:
        return capacity(profile)
    most = max(_usable(point, left_of(latency_ms), max(1, instances)) for point in profile.whole)
    return most / profile.cost_ratio


def tolerable_rate(profile: Profile, latency_ms: float, instances: int = 1) -> float:
    """Queries/s for those who have nothing better, if only what is late for having waited counts.

    A variant whose own time and the hops exceed the objective in more than one case of a hundred has no usable rate. As long as the
    objective is not below its 99th percentile, it is still better than nothing.
    """
    point, room_ms = profile.whole[0], left_of(latency_ms)
    if point.p99_ms > latency_ms or room_ms <= point.p50_ms:
        return 0.0
    share = usable_share(1.0, room_ms / point.p50_ms, _at_once(point) * max(1, instances))
    return _rate(point) * share / profile.cost_ratio


def rates(profile: Profile, latency_ms: float | None, *, tolerable: bool = False) -> Rates:
    """The same for all numbers of instances.

    Args:
        profile: of the variant.
        latency_ms: the objective; None = none.
        tolerable: by `tolerable_rate`.
    """
    if latency_ms is None:
        return Rates(((1, capacity(profile)),), ())
    found = _rates(profile.whole, latency_ms, tolerable)
    return Rates(_slower(found.own, profile.cost_ratio), _slower(found.later, profile.cost_ratio))


def _slower(steps: Steps, cost_ratio: float) -> Steps:
    return steps if cost_ratio == 1.0 else tuple((count, each / cost_ratio) for count, each in steps)


@lru_cache(maxsize=1 << 15)
def _rates(points: tuple[BatchPoint, ...], latency_ms: float, tolerable: bool) -> Rates:
    profile = Profile(load_ms=0, peak_memory_bytes=0, accuracy=0, points=points, slope=0, intercept=0)
    rate = tolerable_rate if tolerable else usable_rate
    own = [(count, rate(profile, latency_ms, count)) for count in POOLS]
    later = [(count, max(each, _later(points, latency_ms, count))) for count, each in own]
    return Rates(_worth(own), _worth(later))


def _worth(steps: list[tuple[int, float]]) -> Steps:
    out: list[tuple[int, float]] = []
    for count, each in steps:
        if each > (out[-1][1] * WORTH if out else 0.0):
            out.append((count, each))
    return tuple(out)


def _usable(point: BatchPoint, room_ms: float, instances: int) -> float:
    tail, servers = point.p99_ms / point.p50_ms, _at_once(point) * instances
    if point.batch == 1:
        return _rate(point) * usable_share(tail, room_ms / point.p50_ms, servers)
    # A query may just miss a batch, and then runs in the next. Beyond that it waits like in a queue for a server that takes each
    # query by itself, as quickly as a full batch does: what varies is then the times of batches, each shared by `batch` queries.
    each_ms = point.p50_ms / point.batch
    wait_ms = room_ms - MISSED_BATCH * point.p99_ms
    variation = (mean_of(tail) ** 2 - 1.0) * point.batch
    return _rate(point) * usable_share(tail_of(variation), 1.0 + wait_ms / each_ms, servers) if wait_ms > 0 else 0.0


def _later(points: tuple[BatchPoint, ...], latency_ms: float, instances: int) -> float:
    room_ms, first = left_of(latency_ms), points[0]
    # Half of what may be missed: who is patient is not to use up what those in a hurry are allowed.
    misses = MISSES / 2 - late_alone(first.p99_ms / first.p50_ms, room_ms / first.p50_ms)
    best = 0.0
    for point in points:
        slack = (room_ms - first.p99_ms) / point.p50_ms
        share = shared_share(point.p99_ms / point.p50_ms, slack, _at_once(point) * instances, misses)
        best = max(best, _rate(point) * share)
    return best


def _rate(point: BatchPoint) -> float:
    """Queries/s at full use, where the time is measured: at the mean of it."""
    return point.given_rate or point.rate / mean_of(point.p99_ms / point.p50_ms)


def _at_once(point: BatchPoint) -> int:
    """Batches an instance works on at once, of a given rate."""
    return max(1, math.floor(point.rate * point.p50_ms / 1000.0 / point.batch + 1e-9))
