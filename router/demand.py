"""Offered load by class, counted at the router: rejected and expired queries included, for they were wanted too."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infaas.schemas.headers import Objective
from infaas.schemas.reports import ClassCount

GRID = 1.1
MAX_CLASSES = 1000


def on_grid(latency_ms: float | None) -> float | None:
    """A latency rounded down on a 10 % grid, so that like objectives are one class."""
    if latency_ms is None:
        return None
    return round(GRID ** math.floor(math.log(latency_ms, GRID) + 1e-9), 6)


@dataclass(slots=True)
class _Count:
    latency_ms: float | None
    """The first one seen of its grid cell: an objective that is always the same is reported as it is."""
    offered: int = 0
    rejected: int = 0


class Demand:
    """Cumulative counters by class."""

    def __init__(self) -> None:
        self._counts: dict[tuple[object, ...], _Count] = {}
        self._quick: dict[tuple[object, ...], _Count] = {}
        """The same by what was asked exactly, so that the grid is worked out once for like queries."""

    def count(
        self, objective: Objective, latency_ms: float | None, eligible: tuple[str, ...], *, rejected: bool
    ) -> None:
        """Counts one query."""
        exact = (objective.scope, objective.name, eligible, latency_ms, objective.optimize)
        counter = self._quick.get(exact)
        if counter is None:
            counter = self._counter(objective, latency_ms, eligible)
            if len(self._quick) >= MAX_CLASSES:
                self._quick.clear()
            self._quick[exact] = counter
        counter.offered += 1
        counter.rejected += rejected

    def _counter(self, objective: Objective, latency_ms: float | None, eligible: tuple[str, ...]) -> _Count:
        key = (objective.scope, objective.name, eligible, on_grid(latency_ms), objective.optimize)
        counter = self._counts.get(key)
        if counter is None:
            if len(self._counts) >= MAX_CLASSES:  # of a stream of ever new classes the oldest go
                del self._counts[next(iter(self._counts))]
                self._quick.clear()
            counter = self._counts[key] = _Count(latency_ms)
        return counter

    def classes(self) -> tuple[ClassCount, ...]:
        """The counters as they are reported."""
        return tuple(
            ClassCount(
                scope=scope,
                name=name,
                eligible=eligible,
                latency_ms=count.latency_ms,
                optimize=optimize,
                offered=count.offered,
                rejected=count.rejected,
            )
            for (scope, name, eligible, _, optimize), count in self._counts.items()
        )
