"""`bench admission`: how much of what the scaler calls usable a router refuses, or lets be late. In virtual time, with the live code.

The fleet is the scaler's own (`best_fleet`, `headroom`), the load that at which its headroom is 1.05, or 2. Service times are lognormal
with the profile's median and 99th percentile, arrivals Poisson; the router's own `select` and `Drain`, reports as often as a
supervisor sends them, and the instance's own order and batches (`Held`). Queries in a hurry are alone, beside patient ones that have nothing but the
same variant, and beside many others that may use it and have a quick one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal

import numpy as np

from infaas.bus.progress import Progress
from infaas.policy.usable import usable_rate
from infaas.router.drain import Drain
from infaas.router.lineup import Lineup
from infaas.router.live import Live
from infaas.router.policy import Dispatch, Plan, Query, Scene, select
from infaas.router.running import RunningAt
from infaas.scaler.greedy import best_fleet
from infaas.scaler.headroom import SLACK, Class, headroom
from infaas.scaler.snapshot import DemandClass, Snapshot
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
OTHERS_S, OTHERS_MS = 170.0, 200.0
QUICK = "quick"
QUICK_MS = (4.0, 5.0)
QUERIES, OTHERS_QUERIES = 40_000, 300_000
"""Simulated, of a stream alone and of all beside others."""
HALF = 2.0
TOLERATED = "tolerated_"
HOP_MS = 1.0
REPORT_MS = 100.0
Z99 = 2.3263
"""Of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Poisson arrivals with one objective."""

    rate: float
    latency_ms: float
    eligible: tuple[str, ...] = ("only",)
    """Variants."""


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


def admission(*, queries: int = QUERIES, others: int = OTHERS_QUERIES, seed: int = 0) -> dict[str, float]:
    """Simulates; returns shares, and how far predictions are off."""
    full: dict[str, float] = {}
    half: dict[str, float] = {}
    errors: list[float] = []
    out: dict[str, float] = {}
    for median, tail in SERVICES:
        services = {"only": (median, tail), QUICK: QUICK_MS}
        hurried = Stream(HURRIED_S, OBJECTIVE_MS)
        beside = Stream(OTHERS_S, OTHERS_MS, ("only", QUICK))
        usable = usable_rate(_servable("only", median, tail).profile, OBJECTIVE_MS)
        fleet = plan(services, [hurried, beside])
        out[f"usable_{median:g}_{tail:g}"] = usable
        # What is late by itself too often is not usable: it runs for who has nothing better, and is shown apart.
        called = f"{median:g}_{tail:g}" if usable > 0 else f"{TOLERATED}{median:g}_{tail:g}"
        for factor, into in ((SLACK, full), (HALF, half)):
            for name, instances in (("", 1), ("_pooled", fleet["only"])):
                alone = scaled(services, [hurried], {"only": instances}, factor)
                (found,) = simulate(services, alone, {"only": instances}, queries / alone[0].rate, seed)
                into[called + name] = found.bad_share
                errors += found.errors_ms
            many = [*scaled(services, [hurried], {"only": fleet["only"]}, factor), beside]
            found, _ = simulate(services, many, fleet, others / sum(s.rate for s in many), seed)
            into[called + "_beside_others"] = found.bad_share
    off = np.abs(errors)
    out |= {f"refused_and_late_{name}": share for name, share in full.items()}
    out |= {f"refused_and_late_2_{name}": share for name, share in half.items()}
    out = {
        "refused_and_late_share": _worst(full),
        "refused_and_late_share_2": _worst(half),
        **beside_patient(queries, seed),
        "predicted_vs_real_p50_ms": float(np.percentile(off, 50)),
        "predicted_vs_real_p99_ms": float(np.percentile(off, 99)),
        **out,
    }
    return {key: round(value, 4) for key, value in out.items()}


def _worst(shares: Mapping[str, float]) -> float:
    return max(share for name, share in shares.items() if not name.startswith(TOLERATED))


def beside_patient(queries: int, seed: int) -> dict[str, float]:
    """Those in a hurry on the fleet that is planned for them and patient ones, with these and alone, each at headroom 1.05."""
    services = {"only": SERVICES[0]}
    hurried, patient = Stream(HURRIED_S, OBJECTIVE_MS), Stream(PATIENT_S, PATIENT_MS)
    fleet = plan(services, [hurried, patient])
    one = scaled(services, [hurried], fleet, SLACK)
    (alone,) = simulate(services, one, fleet, queries / one[0].rate, seed)
    both = scaled(services, [hurried, patient], fleet, SLACK)
    beside, _ = simulate(services, both, fleet, queries / both[0].rate, seed)
    return {
        "hurried_beside_patient": beside.bad_share / max(1e-9, alone.bad_share),
        "hurried_alone_share": alone.bad_share,
        "hurried_beside_share": beside.bad_share,
        "hurried_instances": fleet["only"],
        "hurried_use": sum(one.rate for one in both) * SERVICES[0][0] / 1000.0 / fleet["only"],
    }


Services = Mapping[str, tuple[float, float]]
"""Median and 99th percentile, ms, by variant."""


def plan(services: Services, streams: list[Stream]) -> dict[str, int]:
    """The fleet that the scaler would run."""
    return best_fleet(_classes(services, streams), SLACK)


def room(services: Services, streams: list[Stream], fleet: Mapping[str, int]) -> float:
    """The scaler's headroom."""
    return headroom(_classes(services, streams), fleet)


def scaled(services: Services, streams: list[Stream], fleet: Mapping[str, int], slack: float) -> list[Stream]:
    """The same streams, so much more or less of each that this headroom is left."""
    factor = room(services, streams, fleet) / slack
    return [replace(stream, rate=stream.rate * factor) for stream in streams]


def _classes(services: Services, streams: list[Stream]) -> list[Class]:
    now = Snapshot(0.0, variants={name: _servable(name, *times) for name, times in services.items()})
    return [(s.rate, now.options(DemandClass(s.eligible, s.latency_ms, "cost", s.rate))) for s in streams]


def simulate(
    services: Services, streams: list[Stream], fleet: Mapping[str, int], seconds: float, seed: int
) -> list[Found]:
    """What becomes of streams that share a fleet."""
    return _World(services, streams, fleet, seed).run(seconds * 1000.0)


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
    at: _Instance


class _Instance:
    """One instance, and what the router knows of it."""

    def __init__(self, number: int, variant: str, times: tuple[float, float]) -> None:
        self.variant = variant
        self.median, tail = times
        self.sigma = math.log(tail / self.median) / Z99
        self.held = Held(_servable(variant, self.median, tail).profile)
        self.part = Partition("work", number, Progress(0), Start(0), 0)
        self.seen = RunningAt("w", number, "active", 0.0, self.median, 1.0, (number,))
        self.live = Live("", self.seen, Drain(0.0, 0.0, math.inf))
        self.waiting, self.busy = 0, False
        self.on_the_way: list[float] = []

    def sent(self, now: float, deadline_ms: float) -> None:
        """A query is on its way to it."""
        self.live.drain.add(now, self.seen.query_ms, deadline_ms)
        self.live.moved()
        self.on_the_way.append(now)

    def report(self, now: float) -> None:
        """What a supervisor says of it."""
        each_ms, before = self.seen.query_ms, self.live.drain
        begun = before.under_way(now, each_ms)
        self.live.drain = Drain.since(now, self.waiting, self.on_the_way, 0, each_ms, begun)
        self.live.drain.deadlines = before.deadlines
        self.live.moved()


Event = Literal["query", "arrive", "free", "report"]


class _World:
    def __init__(self, services: Services, streams: list[Stream], fleet: Mapping[str, int], seed: int) -> None:
        servables = {name: _servable(name, *services[name]) for name in fleet}
        self._streams = streams
        self._objectives = [Objective("application", "app", latency_ms=one.latency_ms) for one in streams]
        self._plans = []
        for stream, objective in zip(streams, self._objectives, strict=True):
            able = [servables[name] for name in stream.eligible if name in servables]
            self._plans.append(Plan.of(objective, able, able))
        self._random = np.random.default_rng(seed)
        names = [name for name, count in sorted(fleet.items()) for _ in range(count)]
        self._instances = [_Instance(number, name, services[name]) for number, name in enumerate(names)]
        self._scene = Scene({name: Lineup([i.live for i in self._instances if i.variant == name]) for name in fleet})
        self._events: list[tuple[float, int, Event, int]] = []
        self._numbers = count()
        self._asked: dict[int, _Asked] = {}
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
                    self._at(now + REPORT_MS, "report", 0)
                    for instance in self._instances:
                        instance.report(now)
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
        decision = select(self._plans[stream], self._scene, query, str(found.asked))
        if not isinstance(decision, Dispatch) or decision.instance is None:
            found.refused += 1
            return
        instance = self._instances[decision.instance.instance]
        number = next(self._numbers)
        self._asked[number] = _Asked(stream, now, decision.predicted_ms, instance)
        instance.sent(now, now + latency)
        self._at(now + HOP_MS, "arrive", number)

    def _arrive(self, now: float, number: int) -> None:
        one = self._asked[number]
        deadline = one.came_ms + self._streams[one.stream].latency_ms
        travel = Travel(str(number), one.came_ms, deadline, deadline)
        record: Any = _Stands(number)  # of a record it reads the offset
        one.at.held.add(Work(one.at.part, record, travel))
        one.at.on_the_way.pop(0)
        one.at.waiting += 1
        self._begin(now, one.at)

    def _begin(self, now: float, instance: _Instance) -> None:
        if instance.busy or not instance.held:
            return
        gone: list[Work] = []
        batch = instance.held.take_batch(now, lambda _: True, gone.append)
        for work in gone:
            self._end(work.record.offset, math.inf)
        if batch:
            (work,) = batch
            instance.busy = True
            took = instance.median * math.exp(instance.sigma * float(self._random.standard_normal()))
            self._at(now + took, "free", work.record.offset)

    def _free(self, now: float, number: int) -> None:
        instance = self._asked[number].at
        instance.busy = False
        self._end(number, now + HOP_MS)
        self._begin(now, instance)

    def _end(self, number: int, answered_ms: float) -> None:
        one = self._asked.pop(number)
        one.at.waiting -= 1
        found, took = self._found[one.stream], answered_ms - one.came_ms
        found.late += took > self._streams[one.stream].latency_ms
        if not math.isinf(took):
            found.errors_ms.append(one.predicted_ms - took)


def _servable(variant: str, median: float, tail: float) -> Servable:
    points = (BatchPoint(batch=1, p50_ms=median, p99_ms=tail),)
    profile = Profile(load_ms=0.0, peak_memory_bytes=1, accuracy=1.0, points=points, slope=median, intercept=0.0)
    return Servable(variant, "app", profile, median, "cpu", 1)
