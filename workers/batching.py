"""Which queued queries run together next: work-conserving, and aware of deadlines.

Nothing is ever waited for: an idle instance runs what is there, and what gathers while it runs is the next batch. Of what is
queued it takes the largest batch whose predicted latency keeps the tightest deadline in it that can be kept.
Invariant: the batch is never empty, holds one kind of shape, and never more rows than the variant's largest batch unless a
single query has more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is known of a queued query."""

    rows: int
    deadline_ms: float
    """On the caller of `choose`'s clock; infinite = none."""
    shape: Hashable
    """Queries of one shape can be stacked."""


def choose(queue: Sequence[Waiting], now_ms: float, *, max_rows: int, latency_ms: Callable[[int], float]) -> list[int]:
    """Picks the queries of the next batch.

    Args:
        queue: in the order of arrival, not empty.
        now_ms: epoch ms.
        max_rows: the variant's largest batch.
        latency_ms: predicted latency of a batch by its rows, not falling.

    Returns:
        Positions in `queue`, ascending; the first is always 0, so nobody starves.
    """
    shape, rows = queue[0].shape, queue[0].rows
    # Deadlines that are missed anyway bound nothing, so that the others need not wait for smaller batches.
    tightest = queue[0].deadline_ms if now_ms + latency_ms(rows) <= queue[0].deadline_ms else math.inf
    chosen = [0]
    for at, waiting in enumerate(queue[1:], 1):
        if waiting.shape != shape or rows + waiting.rows > max_rows:
            continue
        done = now_ms + latency_ms(rows + waiting.rows)
        if done > tightest:
            continue
        if done <= waiting.deadline_ms:
            tightest = min(tightest, waiting.deadline_ms)
        elif now_ms + latency_ms(rows) <= waiting.deadline_ms:
            continue  # late in this batch, and not lost yet: a later one may be in time
        chosen.append(at)
        rows += waiting.rows
    return chosen
