"""One decision: from a picture to the fleet, its places and the builds' places. Pure: it runs beside the leader's loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from infaas.scaler import greedy
from infaas.scaler.building import Builds, place_builds
from infaas.scaler.placement import Place, Plan, make_do, place
from infaas.scaler.snapshot import Snapshot
from infaas.schemas.metadata import Built, Placement, Variant


@dataclass(frozen=True, slots=True)
class Question:
    """All that a decision depends on."""

    snapshot: Snapshot
    variants: Mapping[str, Variant]
    built: Mapping[str, Built]
    placements: Mapping[Place, Placement]
    memory: greedy.Memory
    builds_waiting: Mapping[str, float] = field(default_factory=dict)
    """Since when each build has found no room, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What should be."""

    snapshot: Snapshot
    target: greedy.Target
    memory: greedy.Memory
    plan: Plan
    builds: Builds


def decide(question: Question, *, idle_s: float, builds_at_once: int, best: greedy.BestFleet) -> Decision:
    """The fleet, where it runs, and where builds run.

    Args:
        question: the picture.
        idle_s: how long a variant without demand stays.
        builds_at_once: 0 = as many as find room.
        best: finds the cheapest fleet.
    """
    snapshot = question.snapshot
    target, memory = greedy.decide(snapshot, question.memory, idle_s=idle_s, best=best)
    wanted = place(snapshot, target.fleet, target.needed)
    plan = make_do(snapshot, wanted)
    lacking = ", ".join(f"{n} x {v}" for v, n in sorted(wanted.unplaced.items()))
    instead = {
        v: f"there is no room for {lacking}" for (w, v), n in plan.placed.items() if n != wanted.placed.get((w, v))
    }
    target = replace(target, reasons={**target.reasons, **instead})
    builds = place_builds(
        snapshot,
        question.variants,
        question.built,
        question.placements,
        plan.placed,
        needed=target.needed,
        waiting=question.builds_waiting,
        at_most=builds_at_once,
    )
    placed = {where: n - builds.evicted.get(where, 0) for where, n in plan.placed.items()}
    return Decision(
        snapshot, target, memory, Plan({where: n for where, n in placed.items() if n}, plan.unplaced), builds
    )
