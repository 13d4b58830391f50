"""What an instance counts, and how it tells its supervisor."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

from infaas.host.messages import LastBatch, Stats
from infaas.schemas.reports import Counters, Position

KEPT = 256
"""Waits of queries, of which the 99th percentile is told."""


class Tally:
    """Counts since the process started."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("arrived", "answered", "expired", "failed", "batches", "batch_size_sum"), 0)
        self._busy_ms = 0.0
        self._last: tuple[float, int, float] | None = None
        """Of the last batch: how long it took, ms, its queries, how long it was expected to take, ms."""
        self._queue_ms: deque[float] = deque(maxlen=KEPT)

    def count(self, what: Literal["arrived", "answered", "expired", "failed"]) -> None:
        """One more query has."""
        self._counts[what] += 1

    @property
    def arrived(self) -> int:
        """Queries so far, in whatever they have ended."""
        return self._counts["arrived"]

    def waited(self, queue_ms: float) -> None:
        """A query has waited so long before its batch began."""
        self._queue_ms.append(queue_ms)

    def ran(self, *, queries: int, took_ms: float, expected_ms: float) -> None:
        """A batch has run."""
        self._counts["batches"] += 1
        self._counts["batch_size_sum"] += queries
        self._busy_ms += took_ms
        self._last = took_ms, queries, expected_ms

    def stats(self, positions: Iterable[Position], *, offline: int) -> Stats:
        """The message for the supervisor."""
        waits = sorted(self._queue_ms)
        p99_ms = waits[int(0.99 * (len(waits) - 1))] if waits else 0.0
        counters = Counters(**self._counts, busy_ms=self._busy_ms, queue_ms_p99=p99_ms)
        last = None
        if self._last is not None:
            took_ms, queries, expected_ms = self._last
            last = LastBatch(took_ms=took_ms, queries=queries, expected_ms=expected_ms)
        return Stats(counters=counters, last=last, positions=tuple(positions), offline=offline)
