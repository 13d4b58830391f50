"""How much of what waits at an instance it has worked off since it was last heard of. Pure.

A report is up to 0.1 s old. A variant that takes 10 ms a query has answered ten since then, and what was sent meanwhile still counts
as waiting: without this, tight objectives of slow variants look unmeetable as soon as queries keep coming. So what waits is
taken to shrink by one each `query_ms`, from the report on, and each query sent adds one at its moment. A report counts whole queries, so how
far the one under way has come is kept from what was estimated before: taken for a whole one at each report it alone fills a tight objective. Not for ever: an instance
that has missed two of its reports may have stopped working.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from math import ceil

TRUST_MS = 1000.0  # a supervisor reports every 0.5 s, news or not
OVERDUE, FOR = 0.1, 0.5
"""Of a query that should be done and is not, how much is taken to be left, and for how long, in times of a query: later it is another."""


class Drain:
    """What waits at one instance.

    Args:
        work: queries that wait at `at_ms`.
        at_ms: epoch ms.
        until_ms: from then on nothing is taken to be worked off.
    """

    __slots__ = ("_at_ms", "_until_ms", "_work", "deadlines")

    def __init__(self, work: float, at_ms: float, until_ms: float) -> None:
        self._work, self._at_ms, self._until_ms = work, at_ms, until_ms
        self.deadlines: list[float] = []
        """Of own queries that may still wait, ascending: of more than wait the earliest are done."""

    @classmethod
    def since(
        cls,
        report_ms: float,
        waiting: int,
        sent_ms: Iterable[float],
        unconfirmed: int,
        query_ms: float,
        under_way: float = 1.0,
    ) -> Drain:
        """From a report: what waited then, and when each later query was sent; of the first so much is left."""
        work, at = max(0.0, waiting - 1 + under_way) if waiting else 0.0, report_ms
        for sent in sorted(sent_ms):
            now = max(at, sent)
            work, at = max(0.0, work - (now - at) / query_ms) + 1.0, now
        return cls(work + unconfirmed, at, report_ms + TRUST_MS)

    def left(self, now_ms: float, query_ms: float) -> float:
        """Queries expected to wait now; falls with time, never below none."""
        worked_ms = (min(self._until_ms, now_ms)) - self._at_ms
        if worked_ms <= 0.0:
            return self._work
        left = self._work - worked_ms / query_ms
        return max(0.0, left)

    def ends(self, query_ms: float, since_ms: float) -> tuple[float, float]:
        """When all that waits is worked off, and from when on nothing is taken to be worked off; ms, counted from `since_ms`."""
        at = self._at_ms - since_ms
        return at + self._work * query_ms, max(at, self._until_ms - since_ms)

    def under_way(self, at_ms: float, query_ms: float) -> float:
        """How much of the query under way is left at a moment, which may be before the last send: above 0, at most 1."""
        left = self._work - (at_ms - self._at_ms) / query_ms
        if left > 0:
            return left - (ceil(left) - 1)
        return OVERDUE if self._work and left > -FOR else 1.0

    def add(self, now_ms: float, query_ms: float, deadline_ms: float) -> None:
        """One more is sent there."""
        left = self.left(now_ms, query_ms)
        self._work, self._at_ms = left + 1.0, max(now_ms, self._at_ms)
        self.trim(left)
        insort(self.deadlines, deadline_ms)

    def withdraw(self, deadline_ms: float) -> None:
        """One did not arrive after all."""
        self._work = max(0.0, self._work - 1.0)
        if deadline_ms in self.deadlines:
            self.deadlines.remove(deadline_ms)

    def trim(self, left: float) -> None:
        """Forgets deadlines of what is done: of so many that wait those due last, as an instance takes the earliest first."""
        surplus = len(self.deadlines) - ceil(left)
        if surplus > 0:
            del self.deadlines[:surplus]
