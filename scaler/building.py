"""Which worker builds which planned variant. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from infaas.scaler.fold import BUILD_BYTES
from infaas.scaler.snapshot import Snapshot
from infaas.schemas.metadata import Built, Placement, Variant

Place = tuple[str, str]


def place_builds(
    now: Snapshot,
    variants: Mapping[str, Variant],
    built: Mapping[str, Built],
    placements: Mapping[Place, Placement],
    placed: Mapping[Place, int],
    *,
    at_most: int,
) -> tuple[frozenset[Place], int]:
    """Builds by (worker, variant), and how many found no room.

    A build under way stays where it is; one whose worker is gone begins anew elsewhere, behind the points it has written.
    """
    todo = sorted(v for v, r in variants.items() if r.state in ("planned", "building") and v not in built)
    kept = {w for w, p in placements.items() if p.build and w[1] in todo and w[0] in now.rooms}
    free = {w: [room.cores, room.memory_bytes] for w, room in now.rooms.items()}
    for (worker, variant), count in placed.items():
        if worker in free and variant in now.variants:
            free[worker][0] -= now.variants[variant].cores * count
            free[worker][1] -= now.variants[variant].memory_bytes * count
    for worker, variant in kept:
        free[worker][0] -= variants[variant].recipe.cores
        free[worker][1] -= BUILD_BYTES
    out, waiting = set(kept), 0
    for variant in todo:
        if any(v == variant for _, v in kept):
            continue
        recipe = variants[variant].recipe
        able = [
            w
            for w, room in now.rooms.items()
            if recipe.platform in room.platforms and recipe.cores <= free[w][0] and free[w][1] >= BUILD_BYTES
        ]
        if not able or (at_most and len(out) >= at_most):
            waiting += 1
            continue
        worker = min(able, key=lambda w: (-free[w][0], w))  # spread: measuring wants to be alone
        out.add((worker, variant))
        free[worker][0] -= recipe.cores
        free[worker][1] -= BUILD_BYTES
    return frozenset(out), waiting
