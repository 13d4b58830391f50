"""Which queued queries run together next: work-conserving, and aware of deadlines.

Nothing is ever waited for: an idle instance runs what is there, and what gathers while it runs is the next batch. Of what is
queued, the earliest deadline first, it takes the largest batch whose predicted latency keeps the tightest deadline in it that can
be kept. Where there is more than can be kept, the first of them may be in time only by itself, and the many behind it then late: it
is passed over if that keeps more (Nexus drops it early for the same reason).
Invariant: the batch is never empty, holds one kind of shape, and never more rows than the variant's largest batch unless a
single query has more.
Source: Shen et al., SOSP'19 (early drop).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Waiting:
    """What is known of a queued query."""

    rows: int
    deadline_ms: float
    """On the caller of `choose`'s clock; infinite = none."""
    shape: Hashable
    """Queries of one shape can be stacked."""


def passed_over(queue: Sequence[Waiting], now_ms: float, *, max_rows: int, latency_ms: Callable[[int], float]) -> int:
    """How many at the head are left waiting, so that more of all are in time; they are not dropped, and may still be.

    Args:
        queue: by deadline, not empty.
        now_ms: epoch ms.
        max_rows: the variant's largest batch.
        latency_ms: predicted latency of a batch by its rows, not falling.
    """
    most, best = _kept(queue, 0, now_ms, max_rows, latency_ms), 0
    skip = 1
    while skip < len(queue) and most < len(queue):
        kept = _kept(queue, skip, now_ms, max_rows, latency_ms)
        if kept > most:
            most, best = kept, skip
        skip *= 2
    return best


def _kept(
    queue: Sequence[Waiting], first: int, now_ms: float, max_rows: int, latency_ms: Callable[[int], float]
) -> int:
    """How many from `first` on are in time if each batch is as large as its head allows."""
    at, kept, end = first, 0, len(queue)
    while at < end:
        rows, until = queue[at].rows, at + 1
        if now_ms + latency_ms(rows) > queue[at].deadline_ms:
            at += 1
            continue
        while (
            until < end
            and rows + queue[until].rows <= max_rows
            and now_ms + latency_ms(rows + queue[until].rows) <= queue[at].deadline_ms
        ):
            rows += queue[until].rows
            until += 1
        now_ms += latency_ms(rows)
        kept += until - at
        at = until
    return kept


def choose(queue: Sequence[Waiting], now_ms: float, *, max_rows: int, latency_ms: Callable[[int], float]) -> list[int]:
    """Picks the queries of the next batch.

    Args:
        queue: in the order in which they are wanted, not empty.
        now_ms: epoch ms.
        max_rows: the variant's largest batch.
        latency_ms: predicted latency of a batch by its rows, not falling.

    Returns:
        Positions in `queue`, ascending; the first is always 0.
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
