"""Which variants some worker could hold; worked out once for a picture of the workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from infaas.schemas.metadata import Variant, Worker
from infaas.schemas.servable import Servable


class Places:
    """Kinds of workers: a thousand that are alike are one.

    Args:
        workers: that are there; the scaler may still start another.
    """

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._kinds = {(w.hardware.platforms, w.hardware.cores, w.hardware.memory_bytes) for w in workers}

    def hold(self, variant: Variant) -> bool:
        """Whether any of them could hold it."""
        one = Servable.of(variant)
        return one is not None and any(
            one.platform in platforms and one.cores <= cores and one.memory_bytes <= memory
            for platforms, cores, memory in self._kinds
        )
