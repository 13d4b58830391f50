"""Which worker runs how many instances of what. Pure.

What runs stays where it is; what is new goes where it leaves the least room over (best fit); what the load needs and finds no
room pushes out what it does not need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infaas.scaler.headroom import headroom
from infaas.scaler.snapshot import Room, Snapshot
from infaas.schemas.servable import Servable

Place = tuple[str, str]
"""Worker and variant."""
Placed = dict[Place, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """Instances by (worker, variant), and what found no room."""

    placed: Mapping[tuple[str, str], int]
    unplaced: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Free:
    cores: int
    memory_bytes: int

    def holds(self, variant: Servable) -> bool:
        return variant.cores <= self.cores and variant.memory_bytes <= self.memory_bytes

    def take(self, variant: Servable, count: int = 1) -> None:
        self.cores -= variant.cores * count
        self.memory_bytes -= variant.memory_bytes * count


def place(now: Snapshot, fleet: Mapping[str, int], needed: Mapping[str, int]) -> Plan:
    """Turns a fleet into placements.

    Args:
        now: the picture, with what is placed.
        fleet: instances that should run, by variant.
        needed: of these, what may push others out.
    """
    placed = _kept(now, fleet)
    free = _free(now, placed)
    unplaced: dict[str, int] = {}
    for variant in _biggest_first(now, fleet):
        missing = fleet[variant] - sum(n for (_, v), n in placed.items() if v == variant)
        for _ in range(missing):
            present = sum(n for (_, v), n in placed.items() if v == variant)
            worker = best_fit(now, now.variants[variant], free)
            if worker is None and present < needed.get(variant, 0):
                worker = _push_out(now, variant, needed, placed, free)
            if worker is None:
                unplaced[variant] = fleet[variant] - present
                break
            placed[worker, variant] = placed.get((worker, variant), 0) + 1
            free[worker].take(now.variants[variant])
    return Plan({where: n for where, n in sorted(placed.items()) if n}, unplaced)


def fits(now: Snapshot, variant: Servable, room: Room) -> bool:
    """Whether a worker could hold an instance if it were empty, and has not just failed to."""
    return (
        variant.platform in room.platforms
        and variant.cores <= room.cores
        and variant.memory_bytes <= room.memory_bytes
        and (room.worker, variant.variant) not in now.avoid
    )


def best_fit(now: Snapshot, variant: Servable, free: Mapping[str, _Free]) -> str | None:
    """The worker that is left with the least room: cores first, then memory, then by name."""
    able = [w for w, room in now.rooms.items() if fits(now, variant, room) and free[w].holds(variant)]
    return min(able, key=lambda w: (free[w].cores - variant.cores, free[w].memory_bytes, w), default=None)


def _kept(now: Snapshot, fleet: Mapping[str, int]) -> Placed:
    """What is placed and stays: off workers to avoid first, then off the fullest."""
    placed = {
        where: n
        for where, n in now.placed.items()
        if n and where[0] in now.rooms and fleet.get(where[1]) and where not in now.failed
    }
    for worker, variant in [where for where in placed if where in now.avoid]:
        # What is to be avoided is left once something else can take its place.
        others = {w: f for w, f in _free(now, placed).items() if w != worker}
        if any(
            fits(now, now.variants[variant], now.rooms[w]) and f.holds(now.variants[variant]) for w, f in others.items()
        ):
            placed[worker, variant] -= 1
    for variant, count in fleet.items():
        surplus = sum(n for (_, v), n in placed.items() if v == variant) - count
        for where in sorted((w for w in placed if w[1] == variant), key=lambda w: (w not in now.avoid, placed[w], w)):
            off = max(0, min(surplus, placed[where]))
            placed[where] -= off
            surplus -= off
    return placed


def _free(now: Snapshot, placed: Mapping[tuple[str, str], int]) -> dict[str, _Free]:
    free = {}
    for worker, room in now.rooms.items():
        cores, memory = now.builds.get(worker, (0, 0))
        free[worker] = _Free(room.cores - cores, room.memory_bytes - memory)
    for (worker, variant), count in placed.items():
        if worker in free and variant in now.variants:
            free[worker].take(now.variants[variant], count)
    return free


def _biggest_first(now: Snapshot, fleet: Mapping[str, int]) -> list[str]:
    return sorted(
        (v for v in fleet if v in now.variants),
        key=lambda v: (-now.variants[v].cores, -now.variants[v].memory_bytes, v),
    )


def _push_out(
    now: Snapshot, variant: str, needed: Mapping[str, int], placed: Placed, free: dict[str, _Free]
) -> str | None:
    """Makes room on one worker by taking off what the load does not need, where those that run can best do without it."""
    wanted = now.variants[variant]
    ways: list[tuple[float, str, _Free, list[str]]] = []
    for worker, room in sorted(now.rooms.items()):
        if not fits(now, wanted, room):
            continue
        trial, off = _Free(free[worker].cores, free[worker].memory_bytes), []
        for name in spare_on(now, worker, needed, placed):
            if trial.holds(wanted):
                break
            trial.take(now.variants[name], -1)
            off.append(name)
        if trial.holds(wanted):
            ways.append((-headroom_without(now, off), worker, trial, off))
    if not ways:
        return None
    _, worker, trial, off = min(ways, key=lambda f: f[:2])
    for name in off:
        placed[worker, name] -= 1
    free[worker] = trial
    return worker


def spare_on(now: Snapshot, worker: str, needed: Mapping[str, int], placed: Mapping[Place, int]) -> list[str]:
    """What a worker runs beyond what is needed: first what is needed least, then the most expensive; last what would want back."""
    out: list[str] = []
    for variant in {v for (w, v), n in placed.items() if w == worker and n}:
        total = sum(n for (_, v), n in placed.items() if v == variant)
        out += [variant] * min(placed[worker, variant], max(0, total - needed.get(variant, 0)))

    def missed(variant: str) -> tuple[bool, float, float, str]:
        last = out.count(variant) == sum(n for (_, v), n in placed.items() if v == variant)
        cost = now.variants[variant].cost_per_hour
        return last and variant in now.busy, -headroom_without(now, [variant]), -cost, variant

    return sorted(out, key=missed)


def headroom_without(now: Snapshot, off: Sequence[str]) -> float:
    """Headroom of what runs at this moment, these gone."""
    left = Counter({v: n for v, n in now.active.items() if v in now.variants})
    left.subtract(off)
    served = [(c.rate, options) for c in now.classes if (options := now.options(c))]
    return round(headroom(served, {v: n for v, n in left.items() if n > 0}), 3)
