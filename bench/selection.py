"""How long a router takes to choose among very many instances: the live classes on a view of records, no Kafka.

A query is judged as the loop judges it (candidates, scene, `select`), and what is sent is counted; supervisors report in between, and
time goes on by what queries of that rate leave. What is timed is the judging together with the counting of what was sent.
"""

from __future__ import annotations

import gc
import time

import numpy as np

from infaas.bench.fleet import APPLICATION, Fleet
from infaas.router.candidates import Catalogue
from infaas.router.load import Load
from infaas.router.policy import Dispatch, Query, select
from infaas.schemas.headers import Objective

QUERIES, WARM_UP = 4_000, 1_000
EVERY_MS = 0.1
"""Between two queries: 10,000/s."""
REPORTS = 1
"""Of instances, between two queries: 1,000 of them, each ten times a second."""
ROUNDS = 3
QUERY_MS = 20.0
HURRIED_MS, PATIENT_MS = 1_000.0, 60_000.0
FULL = 400
"""Queries that wait at each instance where all are full: 8 s."""
SHAPES = ((1, 1000), (20, 50))
"""Variants and workers that make 1,000 instances."""


def selection() -> dict[str, float]:
    """The 99th percentiles, us; of several shapes the worst."""
    rounds = [_round() for _ in range(ROUNDS)]
    return {key: round(float(np.median([one[key] for one in rounds])), 2) for key in rounds[0]}


def _round() -> dict[str, float]:
    room = [_choose(*shape, full=False) for shape in SHAPES]
    full = [_choose(*shape, full=True, strict=strict) for shape in SHAPES for strict in (True, False)]
    more = _choose(1, 10_000, full=False)
    mixed = _choose(1, 1000, full=True, patient=True)
    return {
        "select_1000_p99_us": max(_p99(times) for times in room),
        "select_overloaded_p99_us": max(_p99(times) for times in full),
        "select_10000_p99_us": _p99(more),
        "select_1000_p50_us": max(float(np.median(times)) for times in room),
        "select_overloaded_mixed_p99_us": _p99(mixed),
    }


def _p99(times_us: list[float]) -> float:
    return float(np.percentile(times_us, 99))


class _Cell:
    """A fleet in which every instance has room, or none has, and its router."""

    def __init__(self, variants: int, workers: int, *, full: bool) -> None:
        self._fleet = Fleet(variants, workers, QUERY_MS)
        self._view, self._load, self.now = self._fleet.view(), Load(), 1.7e12
        self._catalogue = Catalogue(self._view.variants, self._view.architectures)
        self._random = np.random.default_rng(0)
        self._most = FULL if full else 0
        self._ends = np.full((variants, workers), 2 * FULL)
        for variant, worker in np.ndindex(variants, workers):
            self._report(variant, worker)

    def report(self) -> None:
        """Some supervisors report."""
        for _ in range(REPORTS):
            self._report(*(int(self._random.integers(size)) for size in self._ends.shape))

    def _report(self, variant: int, worker: int) -> None:
        end = int(self._ends[variant, worker])
        completed = end - self._most - int(self._random.integers(3))
        query_ms = QUERY_MS * float(self._random.uniform(0.9, 1.1))
        name = self._fleet.names[variant]
        report = self._fleet.report(name, worker, end=end, completed=completed, query_ms=query_ms)
        self._load.report(report, self._view, self.now)

    def judge(self, objective: Objective, number: int) -> float:
        """Judges a query, and sends it; returns how long that takes, us."""
        latency, load, identity = objective.latency_ms or 0.0, self._load, f"infaas.queries-0-{number}"
        begun = time.perf_counter()
        plan = self._catalogue.plan(objective)
        query = Query(objective, latency, late_budget_ms=latency, now_ms=self.now)
        decision = select(plan, load.scene(self._view, plan.names, self.now), query, identity)
        to = decision.instance if isinstance(decision, Dispatch) else None
        if isinstance(decision, Dispatch) and to is not None:
            load.sending(decision.variant, to.partitions[0], to, self.now, self.now + latency)
        took_us = (time.perf_counter() - begun) * 1e6
        if isinstance(decision, Dispatch) and to is not None:
            place = self._fleet.names.index(decision.variant), to.partitions[0]
            load.sent(decision.variant, place[1], int(self._ends[place]), self.now, self.now + latency, to=to)
            self._ends[place] += 1
        return took_us


def _choose(variants: int, workers: int, *, full: bool, strict: bool = True, patient: bool = False) -> list[float]:
    """Times of single queries, us; with `patient` ones between them, which are not timed."""
    cell = _Cell(variants, workers, full=full)
    hurried = Objective("application", APPLICATION, latency_ms=HURRIED_MS, strict=strict)
    slow = Objective("application", APPLICATION, latency_ms=PATIENT_MS)
    times = []
    gc.collect()
    gc.disable()  # a router collects seldom
    for number in range(WARM_UP + QUERIES):
        cell.now += EVERY_MS
        cell.report()
        if patient:
            cell.judge(slow, -number)
        took_us = cell.judge(hurried, number)
        if number >= WARM_UP:
            times.append(took_us)
    gc.enable()
    return times
