"""Which worker runs how many instances of what. Pure.

What runs stays where it is; what is new goes where it leaves the least room over (best fit); what the load needs and finds no
room pushes out what it does not need.
Invariant: what runs and serves load does not go for the sake of what finds no room, or serves no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infaas.scaler.headroom import SLACK, Class, headroom, leftover, served
from infaas.scaler.snapshot import Room, Snapshot
from infaas.schemas.servable import Servable

Place = tuple[str, str]
"""Worker and variant."""
Placed = dict[Place, int]
SAME = 1e-3
"""Shares of the load that differ by less are the same."""


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

    The biggest are placed first, so that as much as possible fits; where needed ones are left over, those first that serve most.
    What runs and serves load is pushed out only for a plan that then serves all of it, where no other does.

    Args:
        now: the picture, with what is placed.
        fleet: instances that should run, by variant.
        needed: of these, what may push others out.
    """
    plan = _Placing(now, fleet, needed, by_use=False, interrupts=False).plan()
    if not any(variant in needed for variant in plan.unplaced):
        return plan
    plans = [plan, _Placing(now, fleet, needed, by_use=True, interrupts=False).plan()]
    if not any(_serves_all(now, one) for one in plans):
        bold = [_Placing(now, fleet, needed, by_use=by_use, interrupts=True).plan() for by_use in (False, True)]
        plans += [one for one in bold if _serves_all(now, one)]
    return max(plans, key=lambda one: round(_served(now, _count(one.placed)), 3))  # of equals the first


def make_do(now: Snapshot, plan: Plan) -> Plan:
    """Where what is wanted found no room and not all is served: what else finds room, that first which serves most a core.

    The cheapest fleet knows no rooms: of two cores none may be free for long, or no worker may have them. What is placed here goes
    again once it is not needed, as everything does.
    """
    if not plan.unplaced or _serves_all(now, plan):
        return plan
    placed = dict(plan.placed)
    free, there = _free(now, placed), _count(placed)
    while True:
        before = _served(now, there)
        gains = {
            name: round((_served(now, {**there, name: there[name] + 1}) - before) / variant.cores, 3)
            for name, variant in now.variants.items()
            if best_fit(now, variant, free) is not None
        }
        best = min(gains, key=lambda name: (-gains[name], now.variants[name].cost_per_hour, name), default=None)
        if best is None or gains[best] <= SAME * max(1.0, before):
            return Plan(dict(sorted(placed.items())), plan.unplaced)
        worker = best_fit(now, now.variants[best], free)
        assert worker is not None
        placed[worker, best] = placed.get((worker, best), 0) + 1
        there[best] += 1
        free[worker].take(now.variants[best])


@dataclass(slots=True)
class _Placing:
    """One way to place a fleet."""

    now: Snapshot
    fleet: Mapping[str, int]
    needed: Mapping[str, int]
    by_use: bool
    """Those first that serve most a core, and not the biggest."""
    interrupts: bool
    """What is not needed by its name goes, also if it serves load until that which is has started."""

    def plan(self) -> Plan:
        now, placed = self.now, _kept(self.now, self.fleet)
        free, there, unplaced = _free(now, placed), _count(placed), dict[str, int]()
        missing = {v: n - there[v] for v, n in self.fleet.items() if v in now.variants and n > there[v]}
        while missing:
            variant = min(missing, key=lambda v: (-self._use(v, there), *_size(now.variants[v])))
            worker = best_fit(now, now.variants[variant], free)
            if worker is None and there[variant] < self.needed.get(variant, 0):
                worker = _push_out(now, variant, self.needed, placed, free, interrupts=self.interrupts)
                there = _count(placed)
            if worker is None:
                unplaced[variant] = missing.pop(variant)
                continue
            placed[worker, variant] = placed.get((worker, variant), 0) + 1
            there[variant] += 1
            free[worker].take(now.variants[variant])
            missing[variant] -= 1
            if not missing[variant]:
                del missing[variant]
        return Plan({where: n for where, n in sorted(placed.items()) if n}, unplaced)

    def _use(self, variant: str, there: Mapping[str, int]) -> float:
        if not self.by_use:
            return 0.0
        more = {**there, variant: there.get(variant, 0) + 1}
        return round((_served(self.now, more) - _served(self.now, there)) / self.now.variants[variant].cores, 3)


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
    """What is placed and stays: what is too much goes off workers to avoid first, then off the fullest."""
    placed = {
        where: n
        for where, n in now.placed.items()
        if n and where[0] in now.rooms and fleet.get(where[1]) and where not in now.failed
    }
    for variant, count in fleet.items():
        surplus = sum(n for (_, v), n in placed.items() if v == variant) - count
        for where in sorted((w for w in placed if w[1] == variant), key=lambda w: (w not in now.avoid, placed[w], w)):
            off = max(0, min(surplus, placed[where]))
            placed[where] -= off
            surplus -= off
    for worker, variant in [where for where, n in placed.items() if n and where in now.avoid]:
        # What is to be avoided is left once something else can take its place: that is its own from then on.
        others = {w: f for w, f in _free(now, placed).items() if w != worker}
        other = best_fit(now, now.variants[variant], others)
        if other is not None:
            placed[worker, variant] -= 1
            placed[other, variant] = placed.get((other, variant), 0) + 1
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


def _size(variant: Servable) -> tuple[int, int, str]:
    """The biggest first."""
    return -variant.cores, -variant.memory_bytes, variant.variant


def _push_out(
    now: Snapshot,
    variant: str,
    needed: Mapping[str, int],
    placed: Placed,
    free: dict[str, _Free],
    *,
    interrupts: bool,
) -> str | None:
    """Makes room on one worker by taking off what the load does not need, where those that run can best do without it."""
    wanted = now.variants[variant]
    ways: list[tuple[float, str, _Free, list[str]]] = []
    for worker, room in sorted(now.rooms.items()):
        if not fits(now, wanted, room):
            continue
        trial, off = _Free(free[worker].cores, free[worker].memory_bytes), list[str]()
        for name in spare_on(now, worker, needed, placed):
            if trial.holds(wanted):
                break
            if interrupts or not missed(now, placed, [*off, name]):
                trial.take(now.variants[name], -1)
                off.append(name)
        if trial.holds(wanted):
            ways.append((-headroom_without(now, placed, off), worker, trial, off))
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
    total = _count(placed)
    for variant in {v for (w, v), n in placed.items() if w == worker and n}:
        out += [variant] * min(placed[worker, variant], max(0, total[variant] - needed.get(variant, 0)))

    def order(variant: str) -> tuple[bool, float, float, str]:
        last = out.count(variant) == total[variant]
        cost = now.variants[variant].cost_per_hour
        return last and variant in now.busy, -headroom_without(now, placed, [variant]), -cost, variant

    return sorted(out, key=order)


def missed(now: Snapshot, placed: Mapping[Place, int], off: Sequence[str]) -> bool:
    """Whether what runs would serve less of the load without these."""
    before, after = _served(now, _running(now, placed)), _served(now, _running(now, placed, off))
    return after < before - SAME * max(1.0, before)


def headroom_without(now: Snapshot, placed: Mapping[Place, int], off: Sequence[str]) -> float:
    """Headroom of what runs at this moment and stays placed, these gone."""
    return round(headroom(_classes(now), _running(now, placed, off)), 3)


def _running(now: Snapshot, placed: Mapping[Place, int], off: Sequence[str] = ()) -> dict[str, int]:
    left = Counter({v: min(n, now.active.get(v, 0)) for v, n in _count(placed).items() if v in now.variants})
    left.subtract(off)
    return {v: n for v, n in left.items() if n > 0}


def _serves_all(now: Snapshot, plan: Plan) -> bool:
    return not leftover(_classes(now), _count(plan.placed), SLACK)


def _served(now: Snapshot, fleet: Mapping[str, int]) -> float:
    """Queries/s that a fleet takes, up to where no more of it would be started."""
    return served(_classes(now), fleet, SLACK)


def _classes(now: Snapshot) -> list[Class]:
    return [(c.rate, options) for c in now.classes if (options := now.options(c))]


def _count(placed: Mapping[Place, int]) -> Counter[str]:
    """Instances by variant."""
    out: Counter[str] = Counter()
    for (_, variant), count in placed.items():
        out[variant] += count
    return out
