"""Which worker builds which planned variant. Pure.

A build under way stays where it is as long as that worker is there and large enough. One that finds no room waits; but not for
ever: after a while it takes the place of instances that the load does not need, and, where its architecture has nothing yet that
could be served, in the end of any instance, the one first without which the others have most headroom left. A further variant of
what is served is worth no refused query: it has starved then, asks for a machine where some may be started, and is said to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infaas.policy.build import build_bytes
from infaas.scaler.placement import Place, headroom_without, missed, spare_on
from infaas.scaler.snapshot import Room, Snapshot
from infaas.schemas.metadata import SERVABLE, Built, Placement, Recipe, Variant

SPARE_AFTER_S = 10.0
ANY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Builds:
    """Where builds run, and what makes room for them."""

    places: frozenset[Place] = frozenset()
    """By (worker, variant)."""
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Variants that find no room, and since when, monotonic seconds."""
    evicted: Mapping[Place, int] = field(default_factory=dict)
    """Instances that give way, by (worker, variant)."""


def can_hold(recipe: Recipe, room: Room) -> bool:
    """Whether a worker could build this if it did nothing else."""
    return recipe.platform in room.platforms and recipe.cores <= room.cores


def starved(builds: Builds, now_s: float) -> tuple[str, ...]:
    """Variants that have found no room for so long that only more machines, or less load, bring them any."""
    return tuple(sorted(v for v, since_s in builds.waiting.items() if now_s - since_s >= ANY_AFTER_S))


def place_builds(
    now: Snapshot,
    variants: Mapping[str, Variant],
    built: Mapping[str, Built],
    placements: Mapping[Place, Placement],
    placed: Mapping[Place, int],
    *,
    needed: Mapping[str, int] | None = None,
    waiting: Mapping[str, float] | None = None,
    at_most: int,
) -> Builds:
    """Places for builds.

    Args:
        now: the picture.
        variants: all of the catalogue.
        built: what builds have found.
        placements: as they are.
        placed: instances that should run, by (worker, variant).
        needed: of these, what the load needs, by variant.
        waiting: since when builds have found no room, of the decision before.
        at_most: builds at once; 0 = as many as find room.
    """
    todo = sorted(v for v, r in variants.items() if r.state in ("planned", "building") and v not in built)
    places = {
        (w, v)
        for (w, v), p in placements.items()
        if p.build and v in todo and w in now.rooms and can_hold(variants[v].recipe, now.rooms[w])
    }
    free = _free(now, variants, placed, places)
    under_way, since, evicted = {v for _, v in places}, dict[str, float](), dict[Place, int]()
    for variant in todo:
        if variant in under_way:
            continue
        if at_most and len(places) >= at_most:  # its turn comes; how long it has found no room is not forgotten
            since |= {v: at for v, at in (waiting or {}).items() if v == variant}
            continue
        recipe = variants[variant].recipe
        able = [w for w, room in now.rooms.items() if can_hold(recipe, room) and free[w].holds(recipe, room)]
        worker = min(able, key=lambda w: (-free[w].cores, w), default=None)  # spread: measuring wants to be alone
        if worker is None:
            since[variant] = (waiting or {}).get(variant, now.now_s)
            if (
                evicted
                or (room_made := _evict(now, variants, variant, since[variant], placed, needed or {}, free)) is None
            ):
                continue
            worker, evicted = room_made
            del since[variant]
        places.add((worker, variant))
        free[worker].take(recipe.cores, build_bytes(now.rooms[worker].memory_bytes))
    return Builds(frozenset(places), since, evicted)


def _evict(
    now: Snapshot,
    variants: Mapping[str, Variant],
    variant: str,
    since_s: float,
    placed: Mapping[Place, int],
    needed: Mapping[str, int],
    free: Mapping[str, _Free],
) -> tuple[str, dict[Place, int]] | None:
    """The worker that makes room for a build that has waited long enough, and which instances go for it; taken from `free`."""
    patience_s = now.now_s - since_s
    if patience_s < SPARE_AFTER_S:
        return None
    last = patience_s >= ANY_AFTER_S and _nothing_to_serve(variants, variants[variant])
    made = _make_room(now, variants[variant].recipe, placed, None if last else needed, free)
    if made is not None:
        worker, evicted = made
        for (_, name), count in evicted.items():
            free[worker].take(now.variants[name].cores, now.variants[name].memory_bytes, -count)
    return made


@dataclass(slots=True)
class _Free:
    cores: int
    memory_bytes: int

    def holds(self, recipe: Recipe, room: Room) -> bool:
        return recipe.cores <= self.cores and build_bytes(room.memory_bytes) <= self.memory_bytes

    def take(self, cores: int, memory_bytes: int, count: int = 1) -> None:
        self.cores -= cores * count
        self.memory_bytes -= memory_bytes * count


def _free(
    now: Snapshot, variants: Mapping[str, Variant], placed: Mapping[Place, int], builds: set[Place]
) -> dict[str, _Free]:
    free = {w: _Free(room.cores, room.memory_bytes) for w, room in now.rooms.items()}
    for (worker, variant), count in placed.items():
        if worker in free and variant in now.variants:
            free[worker].take(now.variants[variant].cores, now.variants[variant].memory_bytes, count)
    for worker, variant in builds:
        free[worker].take(variants[variant].recipe.cores, build_bytes(now.rooms[worker].memory_bytes))
    return free


def _nothing_to_serve(variants: Mapping[str, Variant], waiting: Variant) -> bool:
    return not any(v.architecture == waiting.architecture and v.state in SERVABLE for v in variants.values())


def _make_room(
    now: Snapshot,
    recipe: Recipe,
    placed: Mapping[Place, int],
    needed: Mapping[str, int] | None,
    free: Mapping[str, _Free],
) -> tuple[str, dict[Place, int]] | None:
    """The worker where those that stay can best do without what gives way, and what that is; None of needed: anything may."""
    ways: list[tuple[float, str, list[str]]] = []
    for worker, room in sorted(now.rooms.items()):
        if not can_hold(recipe, room):
            continue
        trial, off = _Free(free[worker].cores, free[worker].memory_bytes), list[str]()
        for name in spare_on(now, worker, needed or {}, placed):
            if trial.holds(recipe, room):
                break
            if needed is not None and missed(now, placed, [*off, name]):
                continue  # it is not needed by name, and yet serves until what is needed has started
            trial.take(now.variants[name].cores, now.variants[name].memory_bytes, -1)
            off.append(name)
        if trial.holds(recipe, room):
            ways.append((-headroom_without(now, placed, off), worker, off))
    if not ways:
        return None
    _, worker, off = min(ways, key=lambda f: f[:2])
    return worker, {(worker, name): off.count(name) for name in set(off)}
