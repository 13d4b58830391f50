"""The bill's raw material: machine-seconds of every worker, and the share of each variant's instances in them."""

from __future__ import annotations

from infaas.scaler.snapshot import Snapshot
from infaas.schemas.decisions import Usage
from infaas.store.view import View


def machine_seconds(view: View, now: Snapshot, *, seconds: float, at_ms: int) -> list[Usage]:
    """One record a worker for the last `seconds`; a variant's share is the dominant one of cores and memory."""
    out = []
    for name, worker in view.live_workers.items():
        hardware = worker.hardware
        shares: dict[str, float] = {}
        for (placed_on, variant), count in now.placed.items():
            if placed_on == name and variant in now.variants:
                servable = now.variants[variant]
                share = max(servable.cores / hardware.cores, servable.memory_bytes / hardware.memory_bytes)
                shares[variant] = share * count
        whole = max(1.0, sum(shares.values()))  # dominant shares may add up to more than the machine
        out.append(
            Usage(
                machine=name,
                machine_type=worker.machine_type,
                price_per_hour=worker.price_per_hour,
                seconds=seconds,
                by_variant={v: share / whole * seconds for v, share in shares.items()},
                at_ms=at_ms,
            )
        )
    return out
