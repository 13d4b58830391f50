"""An instance that runs and owns partitions, as a router sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infaas.policy.fits import ahead, done_in_ms
from infaas.schemas.metadata import ServingState

if TYPE_CHECKING:
    from infaas.router.policy import Query, Ranked


@dataclass(slots=True)
class RunningAt:
    """It is kept, and changed in place by reports, by own sends and as time passes."""

    worker: str
    instance: int
    condition: ServingState
    backlog: float
    """Queries before a new one, when it was last looked at."""
    query_ms: float
    """Observed time a query."""
    slowdown: float
    """Observed batch latency over the profile's."""
    partitions: tuple[int, ...]
    deadlines: Sequence[float] = ()
    """Of those of them that this router has sent, ascending."""

    @property
    def expected_work_ms(self) -> float:
        """(backlog + 1) x the observed time a query."""
        return (self.backlog + 1) * self.query_ms

    def done_in_ms(self, one: Ranked, query: Query, overhead_ms: float) -> float:
        """When the query would be answered here."""
        before = ahead(self.backlog, self.deadlines, query.now_ms + query.budget_ms, one.at_once)
        return done_in_ms(before * self.query_ms, one.own_ms * self.slowdown, overhead_ms)
