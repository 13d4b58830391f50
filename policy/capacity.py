"""How many queries/s an instance can take at full use, with a batch that fits the objective. Pure.

An instance is busy with a query for longer than its model is: it takes, parses and answers it as well. So what is measured of its
own path counts, and what is observed of both while it serves.

What of it is usable, since queries come when they like, is `policy.usable`'s.
"""

from __future__ import annotations

import math

from infaas.schemas.profile import Profile

MISSED_BATCH = 2.0  # a query may just miss a batch, and waits for it to end before its own begins


def capacity(profile: Profile, objective_ms: float | None = None) -> float:
    """Queries/s one instance can take within a latency objective; 0.0 if it can't meet it at all.

    `Q_v(L) = max b / lat(b)` over b with `w(b) * lat_p99(b) <= L`, w(1) = 1, w(b>1) = 2, `lat` with the path in it.
    """
    return _best(profile, objective_ms)[1]


def best_batch(profile: Profile, objective_ms: float | None) -> int:
    """The batch size with the most queries/s within an objective; 0 if not even one query fits."""
    return _best(profile, objective_ms)[0]


def _best(profile: Profile, objective_ms: float | None) -> tuple[int, float]:
    limit = math.inf if objective_ms is None else objective_ms
    best = (0, 0.0)
    for point in profile.whole:
        weight = 1.0 if point.batch == 1 else MISSED_BATCH
        if weight * point.p99_ms <= limit and point.rate / profile.cost_ratio > best[1]:
            best = (point.batch, point.rate / profile.cost_ratio)
    return best
