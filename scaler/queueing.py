"""How many queries/s an instance can take so that nearly all of them are answered in time. Pure.

`Profile.capacity` is what an instance does at full use, with a batch that fits the objective. But queries come when they like: at
full use the queue grows without end, and at 95 % of it a query waits for many others. The wait of Poisson arrivals at one server
with service time s has a tail of about `exp(-2 (1 - rho) t / (rho s))` (M/D/1), so use rho is held where the 95th percentile of
wait and batch together meets the objective. Loose objectives lose next to nothing, tight ones of slow variants a lot, as they do.
"""

from __future__ import annotations

import math

from infaas.schemas.profile import MISSED_BATCH, Profile

TAIL = math.log(20.0) / 2.0
"""ln(1 / 5 %), over the 2 of the tail."""


def usable_rate(profile: Profile, latency_ms: float | None) -> float:
    """Queries/s of one instance within an objective; 0.0 if it can't meet it at all."""
    if latency_ms is None:
        return profile.capacity(None)
    best = 0.0
    for point in profile.points:
        if (1.0 if point.batch == 1 else MISSED_BATCH) * point.p99_ms > latency_ms:
            continue
        each_ms = point.p50_ms / point.batch
        left_ms = latency_ms - point.p99_ms
        if left_ms > 0:
            best = max(best, 1000.0 / each_ms * left_ms / (left_ms + TAIL * each_ms))
    return best
