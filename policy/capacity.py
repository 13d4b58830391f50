"""How many queries/s an instance can take, at full use and so that nearly all of them are answered in time. Pure.

`capacity` is what an instance does at full use, with a batch that fits the objective. But queries come when they like: at
full use the queue grows without end, and at 95 % of it a query waits for many others. The wait of Poisson arrivals at one server
with service time s has a tail of about `exp(-2 (1 - rho) t / (rho s))` (M/D/1), so use rho is held where the 95th percentile of
wait and batch together meets the objective. Loose objectives lose next to nothing, tight ones of slow variants a lot, as they do.
"""

from __future__ import annotations

import math

from infaas.schemas.profile import Profile

MISSED_BATCH = 2.0  # a query may just miss a batch, and waits for it to end before its own begins
TAIL = math.log(20.0) / 2.0
"""ln(1 / 5 %), over the 2 of the tail."""


def usable_rate(profile: Profile, latency_ms: float | None) -> float:
    """Queries/s of one instance within an objective; 0.0 if it can't meet it at all."""
    if latency_ms is None:
        return capacity(profile)
    best = 0.0
    for point in profile.points:
        if (1.0 if point.batch == 1 else MISSED_BATCH) * point.p99_ms > latency_ms:
            continue
        each_ms = 1000.0 / point.rate
        left_ms = latency_ms - point.p99_ms
        if left_ms > 0:
            best = max(best, point.rate * left_ms / (left_ms + TAIL * each_ms))
    return best


def capacity(profile: Profile, objective_ms: float | None = None) -> float:
    """Queries/s one instance can take within a latency objective; 0.0 if it can't meet it at all.

    `Q_v(L) = max b / lat(b)` over b with `w(b) * lat_p99(b) <= L`, w(1) = 1, w(b>1) = 2.
    """
    return _best(profile, objective_ms)[1]


def best_batch(profile: Profile, objective_ms: float | None) -> int:
    """The batch size with the most queries/s within an objective; 0 if not even one query fits."""
    return _best(profile, objective_ms)[0]


def _best(profile: Profile, objective_ms: float | None) -> tuple[int, float]:
    limit = math.inf if objective_ms is None else objective_ms
    best = (0, 0.0)
    for point in profile.points:
        weight = 1.0 if point.batch == 1 else MISSED_BATCH
        if weight * point.p99_ms <= limit and point.rate > best[1]:
            best = (point.batch, point.rate)
    return best
