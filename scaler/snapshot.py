"""What the scaler's policies see: an immutable picture of demand, variants, workers and what runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from infaas.policy.usable import rates
from infaas.scaler.fill import Option
from infaas.schemas.headers import Optimize
from infaas.schemas.servable import Servable

TRACE = 1e-3
"""Queries/s."""


@dataclass(frozen=True, slots=True)
class DemandClass:
    """Queries/s offered that may go to the same variants under the same objective."""

    eligible: tuple[str, ...]
    latency_ms: float | None
    optimize: Optimize
    rate: float


@dataclass(frozen=True, slots=True)
class Room:
    """A worker that is there, and what it may hold."""

    worker: str
    platforms: tuple[str, ...]
    cores: int
    memory_bytes: int
    price_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision depends on."""

    now_s: float
    classes: tuple[DemandClass, ...] = ()
    variants: Mapping[str, Servable] = field(default_factory=dict)
    rooms: Mapping[str, Room] = field(default_factory=dict)
    placed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Instances that should run, by (worker, variant), on workers that are there."""
    active: Mapping[str, int] = field(default_factory=dict)
    """Instances that do run and own partitions, by variant."""
    wanted: frozenset[str] = frozenset()
    """Variants with work that nobody does: asked for by a router, or a backlog without an owner."""
    avoid: frozenset[tuple[str, str]] = frozenset()
    """(worker, variant) where it failed, or is interfered: nothing new goes there."""
    failed: frozenset[tuple[str, str]] = frozenset()
    """Of these, where every instance has failed for good: nothing stays there either."""
    builds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Cores and bytes that builds hold, by worker."""
    busy: frozenset[str] = frozenset()
    """Variants with work on its way: their last instance, if it went now, would be wanted back at once."""

    @property
    def fleet(self) -> dict[str, int]:
        """Instances that should run, by variant."""
        out: dict[str, int] = {}
        for (_, variant), count in self.placed.items():
            if count:
                out[variant] = out.get(variant, 0) + count
        return out

    def options(self, demand: DemandClass) -> list[Option]:
        """What can serve a class, given what its queries wish for.

        Who optimises accuracy or latency wants the best variant there is, not the cheapest: only that is an option.
        """
        able = [self.variants[name] for name in demand.eligible if name in self.variants]
        candidates = [(v, o) for v in able if (o := _option(v, demand.latency_ms)) is not None]
        if not candidates:
            candidates = [(v, o) for v in able if (o := _option(v, demand.latency_ms, tolerable=True)) is not None]
        if candidates and demand.optimize != "cost":
            best = min(_badness(v, demand.optimize) for v, _ in candidates)
            candidates = [
                (v, o) for v, o in candidates if math.isclose(_badness(v, demand.optimize), best, rel_tol=1e-9)
            ]
        return [option for _, option in candidates]

    def cost(self, fleet: Mapping[str, int]) -> float:
        """USD an hour of a fleet."""
        return sum(self.variants[v].cost_per_hour * n for v, n in fleet.items() if v in self.variants)


def _option(variant: Servable, latency_ms: float | None, *, tolerable: bool = False) -> Option | None:
    found = rates(variant.profile, latency_ms, tolerable=tolerable)
    if not found.own:
        return None
    least, rate = found.own[0]
    # What only several instances can take is not promised of one; a trace of it is, or nobody would start the first.
    return Option(variant.variant, rate if least == 1 else TRACE, variant.cost_per_hour, found.own, found.later)


def _badness(variant: Servable, optimize: Optimize) -> float:
    return -variant.profile.accuracy if optimize == "accuracy" else variant.profile.p99_ms(1)
