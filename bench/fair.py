"""How near routers come to an ideal single queue: Poisson queries on a quick instance and a slow one. In virtual time, live classes.

Each router has a `Load` of its own, knows its own sends, and hears of the others' only by the reports that all of them get; a query
goes to any router. The ideal is one queue before both instances, of which each takes the next query when it is free.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infaas.bench.fleet import APPLICATION, Fleet
from infaas.router.candidates import Catalogue
from infaas.router.load import Load
from infaas.router.policy import Dispatch, Query, select
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import Objective

SERVICE_MS = (2.0, 20.0)
USE = 0.7
QUERIES = 60_000
REPORT_MS = 100.0
LATENCY_MS = 5_000.0
"""Loose: nothing is refused, so that nothing but the spreading is measured."""
START_MS = 1.7e12


@dataclass
class _Instance:
    """Runs what it gets one after the other."""

    service_ms: float
    got: int = 0
    free_ms: float = 0.0
    ends: deque[float] = field(default_factory=deque)
    """Of what is not answered."""

    def take(self, now: float) -> float:
        """When a query that comes now is answered."""
        self.free_ms = max(self.free_ms, now) + self.service_ms
        self.ends.append(self.free_ms)
        self.got += 1
        return self.free_ms

    def waiting(self, now: float) -> int:
        """What is not answered by now."""
        while self.ends and self.ends[0] <= now:
            self.ends.popleft()
        return len(self.ends)


def fair(*, queries: int = QUERIES, seed: int = 0) -> dict[str, float]:
    """Simulates; returns ratios of the 99th percentile of latency to the ideal's."""
    random = np.random.default_rng(seed)
    rate_per_ms = USE * sum(1.0 / ms for ms in SERVICE_MS)
    arrivals = np.cumsum(random.exponential(1.0 / rate_per_ms, queries))
    ideal = _p99(single_queue(arrivals))
    out = {"fair_p99_ideal_ms": ideal}
    for name, routers in (("fair_p99_ratio", 1), ("fair_p99_ratio_2", 2)):
        out[name] = _p99(routed(arrivals, random.integers(routers, size=queries), routers)) / ideal
    return {key: round(value, 4) for key, value in out.items()}


def single_queue(arrivals: NDArray[np.float64]) -> list[float]:
    """Latencies where whoever is free first takes the next, and of two that are free the quicker."""
    free = [0.0 for _ in SERVICE_MS]
    out = []
    for now in arrivals:
        at = min(range(len(free)), key=lambda i: (max(free[i], now), SERVICE_MS[i]))
        free[at] = max(free[at], now) + SERVICE_MS[at]
        out.append(free[at] - now)
    return out


def routed(arrivals: NDArray[np.float64], chosen: NDArray[np.int64], routers: int) -> list[float]:
    """Latencies where each query goes through the router that is chosen for it."""
    fleet, objective = (
        Fleet(1, len(SERVICE_MS), SERVICE_MS[0]),
        Objective("application", APPLICATION, latency_ms=LATENCY_MS),
    )
    (name,), view = fleet.names, fleet.view()
    plan = Catalogue(view.variants, view.architectures).plan(objective)
    loads, instances = [Load() for _ in range(routers)], [_Instance(ms) for ms in SERVICE_MS]
    out, due = [], 0.0
    for number, (now, which) in enumerate(zip(arrivals, chosen, strict=True)):
        while due <= now:
            for at, one in enumerate(instances):
                report = fleet.report(
                    name, at, end=one.got, completed=one.got - one.waiting(due), query_ms=one.service_ms
                )
                for load in loads:
                    load.report(report, view, START_MS + due)
            due += REPORT_MS
        load, at_ms = loads[which], START_MS + float(now)
        scene = load.scene(view, plan.names, at_ms)
        query = Query(objective, LATENCY_MS, late_budget_ms=LATENCY_MS, now_ms=at_ms)
        decision = select(plan, scene, query, f"queries-0-{number}")
        if not isinstance(decision, Dispatch) or decision.instance is None:
            raise InfaasError(f"query {number} was not sent to an instance that runs")
        to = decision.instance
        (at,) = to.partitions
        load.sending(name, at, to, at_ms, at_ms + LATENCY_MS)
        load.sent(name, at, instances[at].got, at_ms, at_ms + LATENCY_MS, to=to, deadline_ms=at_ms + LATENCY_MS)
        out.append(instances[at].take(float(now)) - float(now))
    return out


def _p99(latencies_ms: list[float]) -> float:
    return float(np.percentile(latencies_ms, 99))
