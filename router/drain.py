"""How much of a backlog an instance has worked off since it was last heard of. Pure.

A report is up to 0.1 s old. A variant that takes 10 ms a query has answered ten since then, and what was sent meanwhile still counts
as waiting: without this, tight objectives of slow variants look unmeetable as soon as queries keep coming. So the backlog is
taken to shrink by one each `query_ms`, from the time of the report on; for a short while only, since an instance that stops
reporting may have stopped working.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TRUST_MS = 300.0  # three reports missed


@dataclass(slots=True)
class Drain:
    """One instance's expected backlog."""

    work: float
    """Queries expected to wait at `at_ms`."""
    at_ms: float
    until_ms: float
    """From then on nothing is taken to be worked off."""
    counted: int
    """Queries known not to be reported as answered, of which `work` are left."""

    @classmethod
    def since(
        cls, report_ms: float, waiting: int, sent_ms: Iterable[float], unconfirmed: int, query_ms: float
    ) -> Drain:
        """From a report: what waited then, and when each later query was sent."""
        work, at, count = float(waiting), report_ms, waiting
        for sent in sorted(sent_ms):
            now = max(at, sent)
            work, at, count = max(0.0, work - (now - at) / query_ms) + 1.0, now, count + 1
        return cls(work + unconfirmed, at, report_ms + TRUST_MS, count + unconfirmed)

    def left(self, now_ms: float, counted: int, query_ms: float) -> float:
        """Queries expected to wait now; `counted` is as many more as were sent since.

        Never more than are counted, never less than none.
        """
        worked_until = min(max(now_ms, self.at_ms), max(self.until_ms, self.at_ms))
        done = (worked_until - self.at_ms) / query_ms
        self.work = min(max(0.0, self.work - done) + max(0, counted - self.counted), counted)
        self.at_ms, self.counted = max(now_ms, self.at_ms), counted
        return self.work
