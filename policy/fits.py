"""When a query would be answered, and so whether it fits: for the router, the scaler and the simulation of both. Pure.

What is before a query at an instance, the query itself, and the way there and back. Each once, and each as it is on average: the
99th percentile of a batch on top of a queue counts the tail twice, and near an objective of that size refuses what there is room
for. The instance runs the earliest deadline first, so only what is due earlier is before a query, and what is under way.

A router asks this of each query (`done_in_ms`). The scaler asks it of all that will come (`policy.usable`): what is ahead is then not known,
but distributed as in a queue, and the own time with its tail; what the hops take (`left_of`), and that only what is under way and what is due
earlier is ahead, is the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import ceil

OVERHEAD_MS = 3.0
"""Of the hops, until it is observed."""


def left_of(budget_ms: float, overhead_ms: float = OVERHEAD_MS) -> float:
    """What the hops leave of a budget for waiting and running; a router's and the scaler's."""
    return budget_ms - overhead_ms


def done_in_ms(ahead_ms: float, own_ms: float, overhead_ms: float) -> float:
    """When a query that comes now is answered.

    Args:
        ahead_ms: work before it.
        own_ms: its own time on the engine, mean.
        overhead_ms: of the hops to the instance and back, as observed.
    """
    return ahead_ms + own_ms + overhead_ms


def ahead(waiting: float, deadlines: Sequence[float], deadline_ms: float, under_way: float = 1.0) -> float:
    """How many of the queries that wait at an instance are answered before one with this deadline.

    Args:
        waiting: all of them, those under way included.
        deadlines: of those of them that are known, ascending; the others are taken to be due earlier.
        deadline_ms: its own.
        under_way: how many an instance works on at once: what it has begun it ends.
    """
    if not waiting:
        return 0.0
    later = len(deadlines) - bisect_right(deadlines, deadline_ms) if deadlines else 0
    begun = waiting - (ceil(waiting) - 1)  # what is left of the one under way, as far as the count tells
    return max(waiting - later, min(waiting, begun + under_way - 1), 0.0)
