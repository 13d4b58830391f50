"""Why a variant is neither built nor run: what no live worker can give it. Pure."""

from __future__ import annotations

from infaas.schemas.metadata import Variant, Worker
from infaas.store.view import View

GIB = 1024**3
WAITING = frozenset({"planned", "building", "ready"})


def hindrances(view: View) -> dict[str, str]:
    """The reason by variant, for those that could be built or run but for what is missing."""
    return {
        name: reason
        for name, variant in sorted(view.variants.items())
        if variant.state in WAITING
        for reason in [hindrance(variant, list(view.live_workers.values()))]
        if reason
    }


def hindrance(variant: Variant, workers: list[Worker]) -> str:
    """What no live worker can give a variant; empty = somebody can."""
    recipe = variant.recipe
    if not workers:
        return "no worker is alive"
    able = [w.hardware for w in workers if recipe.platform in w.hardware.platforms]
    if not able:
        return f"no live worker has the platform {recipe.platform}"
    wide = [hardware for hardware in able if hardware.cores >= recipe.cores]
    if not wide:
        return f"no live worker has {recipe.cores} cores for it: the largest has {max(h.cores for h in able)}"
    needed = variant.profile.peak_memory_bytes if variant.profile else 0
    largest = max(hardware.memory_bytes for hardware in wide)
    if needed > largest:
        return f"no live worker has the {needed / GIB:.1f} GiB that it takes: the largest has {largest / GIB:.1f}"
    return ""
