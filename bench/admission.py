"""`bench admission`: how much of what the scaler calls usable a router refuses, or lets be late. In virtual time, with the live code.

One instance whose service time is lognormal with the profile's median and 99th percentile, Poisson arrivals, the router's own
`select`, `Drain` and `fits`, reports as often as a supervisor sends them, and the instance's own order and batches (`Held`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal

import numpy as np

from infaas.bus.progress import Progress
from infaas.policy.capacity import usable_rate
from infaas.router.drain import Drain
from infaas.router.lineup import Lineup
from infaas.router.live import Live
from infaas.router.policy import Dispatch, Plan, Query, Scene, select
from infaas.router.running import RunningAt
from infaas.schemas.headers import Objective, Travel
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.servable import Servable
from infaas.workers.held import Held
from infaas.workers.partition import Partition
from infaas.workers.poison import Start
from infaas.workers.work import Work

OBJECTIVE_MS, PATIENT_MS = 60.0, 5_000.0
SERVICES = ((33.0, 33.0), (33.0, 45.0), (33.0, 57.0))
HURRIED_S, PATIENT_S = 3.3, 16.0
SECONDS = 4_000.0
HOP_MS = 1.0
REPORT_MS = 100.0
Z99 = 2.3263
"""Of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Poisson arrivals with one objective."""

    rate: float
    latency_ms: float


@dataclass(slots=True)
class Found:
    """What became of the queries of one stream."""

    asked: int = 0
    refused: int = 0
    late: int = 0
    errors_ms: list[float] = field(default_factory=list)
    """Predicted less real time, of those served."""

    @property
    def bad_share(self) -> float:
        """Refused and late together."""
        return (self.refused + self.late) / max(1, self.asked)


def admission(*, seconds: float = SECONDS, seed: int = 0) -> dict[str, float]:
    """Simulates; returns shares, and how far predictions are off."""
    full: list[float] = []
    half: list[float] = []
    errors: list[float] = []
    out: dict[str, float] = {}
    for median, tail in SERVICES:
        rate = usable_rate(_profile(median, tail), OBJECTIVE_MS)
        if rate <= 0:  # the scaler gives it nothing, so nobody asks it
            continue
        for factor, into in ((1.05, full), (2.0, half)):
            (found,) = simulate(median, tail, [Stream(rate / factor, OBJECTIVE_MS)], seconds, seed)
            into.append(found.bad_share)
            errors += found.errors_ms
        out[f"refused_and_late_{median:g}_{tail:g}"] = full[-1]
        out[f"usable_{median:g}_{tail:g}"] = rate
    hurried = Stream(HURRIED_S, OBJECTIVE_MS)
    (alone,) = simulate(33.0, 33.0, [hurried], seconds, seed)
    beside, _ = simulate(33.0, 33.0, [hurried, Stream(PATIENT_S, PATIENT_MS)], seconds, seed)
    off = np.abs(errors)
    out = {
        "refused_and_late_share": max(full),
        "refused_and_late_share_2": max(half),
        "hurried_beside_patient": beside.bad_share / max(1e-9, alone.bad_share),
        "hurried_alone_share": alone.bad_share,
        "hurried_beside_share": beside.bad_share,
        "predicted_vs_real_p50_ms": float(np.percentile(off, 50)),
        "predicted_vs_real_p99_ms": float(np.percentile(off, 99)),
        **out,
    }
    return {key: round(value, 4) for key, value in out.items()}


def simulate(median: float, tail: float, streams: list[Stream], seconds: float, seed: int) -> list[Found]:
    """What becomes of streams that share one instance."""
    return _World(median, tail, streams, seed).run(seconds * 1000.0)


class _Stands:
    """A record as it stands in a work topic."""

    topic, partition = "work", 0

    def __init__(self, offset: int) -> None:
        self.offset = offset


@dataclass(slots=True)
class _Asked:
    stream: int
    came_ms: float
    predicted_ms: float


Event = Literal["query", "arrive", "free", "report"]


class _World:
    def __init__(self, median: float, tail: float, streams: list[Stream], seed: int) -> None:
        profile = _profile(median, tail)
        servable = Servable("only", "app", profile, 0.1, "cpu", 1)
        self._median, self._sigma = median, math.log(tail / median) / Z99
        self._streams = streams
        self._objectives = [Objective("application", "app", latency_ms=one.latency_ms) for one in streams]
        self._plan = Plan.of(self._objectives[0], [servable], [servable])
        self._random = np.random.default_rng(seed)
        self._held, self._part = Held(profile), Partition("work", 0, Progress(0), Start(0), 0)
        self._instance = RunningAt("w", 0, "active", 0.0, median, 1.0, (0,))
        self._live = Live("", self._instance, Drain(0.0, 0.0, math.inf))
        self._scene = Scene({"only": Lineup([self._live])})
        self._events: list[tuple[float, int, Event, int]] = []
        self._numbers = count()
        self._asked: dict[int, _Asked] = {}
        self._waiting, self._busy, self._last_told = 0, False, -1
        self._on_the_way: list[float] = []
        self._found = [Found() for _ in streams]

    def run(self, until_ms: float) -> list[Found]:
        """Until then."""
        for stream in range(len(self._streams)):
            self._at(self._gap(stream), "query", stream)
        self._at(REPORT_MS, "report", 0)
        while self._events:
            now, _, event, which = heappop(self._events)
            if now > until_ms:
                break
            match event:
                case "query":
                    self._query(now, which)
                case "arrive":
                    self._arrive(now, which)
                case "free":
                    self._free(now, which)
                case "report":
                    self._report(now)
        return self._found

    def _at(self, when: float, event: Event, which: int) -> None:
        heappush(self._events, (when, next(self._numbers), event, which))

    def _gap(self, stream: int) -> float:
        return float(self._random.exponential(1000.0 / self._streams[stream].rate))

    def _query(self, now: float, stream: int) -> None:
        self._at(now + self._gap(stream), "query", stream)
        found, latency = self._found[stream], self._streams[stream].latency_ms
        found.asked += 1
        query = Query(self._objectives[stream], latency, late_budget_ms=latency, now_ms=now)
        decision = select(self._plan, self._scene, query, str(found.asked))
        if not isinstance(decision, Dispatch):
            found.refused += 1
            return
        number = next(self._numbers)
        self._asked[number] = _Asked(stream, now, decision.predicted_ms)
        self._live.drain.add(now, self._instance.query_ms, now + latency)
        self._live.moved()
        self._on_the_way.append(now)
        self._at(now + HOP_MS, "arrive", number)

    def _arrive(self, now: float, number: int) -> None:
        one = self._asked[number]
        deadline = one.came_ms + self._streams[one.stream].latency_ms
        travel = Travel(str(number), one.came_ms, deadline, deadline)
        record: Any = _Stands(number)  # of a record it reads the offset
        self._held.add(Work(self._part, record, travel))
        self._on_the_way.pop(0)
        self._waiting += 1
        self._begin(now)

    def _begin(self, now: float) -> None:
        if self._busy or not self._held:
            return
        gone: list[Work] = []
        batch = self._held.take_batch(now, lambda _: True, gone.append)
        for work in gone:
            self._end(work.record.offset, math.inf)
        if batch:
            (work,) = batch
            self._busy = True
            took = self._median * math.exp(self._sigma * float(self._random.standard_normal()))
            self._at(now + took, "free", work.record.offset)

    def _free(self, now: float, number: int) -> None:
        self._busy = False
        self._end(number, now + HOP_MS)
        self._begin(now)

    def _end(self, number: int, answered_ms: float) -> None:
        one = self._asked.pop(number)
        self._waiting -= 1
        found, took = self._found[one.stream], answered_ms - one.came_ms
        found.late += took > self._streams[one.stream].latency_ms
        if not math.isinf(took):
            found.errors_ms.append(one.predicted_ms - took)

    def _report(self, now: float) -> None:
        self._at(now + REPORT_MS, "report", 0)
        drain = Drain.since(now, self._waiting, self._on_the_way, 0, self._instance.query_ms)
        drain.deadlines = self._live.drain.deadlines
        self._live.drain = drain
        self._live.moved()


def _profile(median: float, tail: float) -> Profile:
    points = (BatchPoint(batch=1, p50_ms=median, p99_ms=tail),)
    return Profile(load_ms=0.0, peak_memory_bytes=1, accuracy=1.0, points=points, slope=median, intercept=0.0)
