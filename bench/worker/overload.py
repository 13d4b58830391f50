"""What an instance gives at twice the load that it can bear, beside the most that it ever gives."""

from __future__ import annotations

from collections.abc import Sequence

from infaas.bench.worker.caller import Caller, Query
from infaas.cli.console import progress

OBJECTIVE_MS = 300.0
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
"""Of what its profile says it can do."""
WARM_SHARE, WARM_S = 0.4, 8.0
STEP_S, OVERLOAD_S = 4.0, 10.0
SUSTAINED = 0.99
"""Of the answers in time, at a load that is borne."""


def overload(caller: Caller, *, partitions: Sequence[int], capacity: float) -> dict[str, float]:
    """Looks for the load that is borne, then doubles it.

    Args:
        caller: of the variant.
        partitions: that its instance has.
        capacity: queries/s by its profile.
    """
    caller.paced(WARM_SHARE * capacity, WARM_S, partitions=partitions, objective_ms=OBJECTIVE_MS)
    most = sustained = 0.0
    for share in SHARES:
        rate = share * capacity
        queries = caller.paced(rate, STEP_S, partitions=partitions, objective_ms=OBJECTIVE_MS)
        good = goodput(queries, STEP_S)
        progress(f"{rate:.0f}/s: {good:.0f}/s in time")
        most = max(most, good)
        if good >= SUSTAINED * rate:
            sustained = rate
    sustained = sustained or most
    queries = caller.paced(2 * sustained, OVERLOAD_S, partitions=partitions, objective_ms=OBJECTIVE_MS)
    good = goodput(queries, OVERLOAD_S)
    progress(f"{2 * sustained:.0f}/s: {good:.0f}/s in time")
    return {
        "goodput_2x": good / max(most, good),
        "expired_executor_share": expired_share(queries),
        "sustained_per_s": sustained,
        "goodput_peak_per_s": max(most, good),
        "goodput_2x_per_s": good,
    }


def goodput(queries: Sequence[Query], seconds: float) -> float:
    """Answers in time, 1/s."""
    return sum(query.in_time for query in queries) / seconds


def expired_share(queries: Sequence[Query]) -> float:
    """Of the engine's time, that of queries whose deadline had passed when their batch began."""
    ran = [query for query in queries if query.outcome == "ok"]
    whole = sum(query.inference_ms / query.batch_size for query in ran)
    late = sum(query.inference_ms / query.batch_size for query in ran if query.began_ms > query.deadline_ms)
    return late / whole if whole else 0.0
