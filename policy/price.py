"""What a variant costs an hour, and a query that it answers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from infaas.policy.capacity import capacity
from infaas.schemas.catalogue import CATALOGUE, MachineType
from infaas.schemas.profile import Profile
from infaas.schemas.servable import Servable

HOUR_S = 3600.0


def variant_cost_per_hour(
    platform: str,
    cores: int,
    memory_bytes: int,
    types: Iterable[MachineType] = CATALOGUE,
    *,
    accelerator_bytes: int = 0,
) -> float:
    """C_v: the dominant share (cores, memory, accelerator) of the cheapest machine type that can run it, times its price.

    Returns infinity if no type can.
    """
    best = float("inf")
    for kind in types:
        if platform not in kind.platforms or cores > kind.cores or memory_bytes > kind.memory_bytes:
            continue
        share = max(cores / kind.cores, memory_bytes / kind.memory_bytes)
        if platform != "cpu":
            share = max(
                share, accelerator_bytes / kind.accelerator_memory_bytes if accelerator_bytes else 1 / kind.accelerators
            )
        best = min(best, share * kind.price_per_hour)
    return best


def cost_per_1000(profile: Profile, cost_per_hour: float, objective_ms: float | None = None) -> float:
    """USD per 1,000 queries at full use within an objective; infinite if it can't meet it."""
    rate = capacity(profile, objective_ms)
    return math.inf if rate <= 0 else cost_per_hour / HOUR_S / rate * 1000.0


def query_cost(variant: Servable, objective_ms: float | None) -> float:
    """USD per 1,000 queries within an objective; at full speed if it can't meet it (then the deadline decides)."""
    limit = objective_ms if capacity(variant.profile, objective_ms) > 0 else None
    return cost_per_1000(variant.profile, variant.cost_per_hour, limit)
