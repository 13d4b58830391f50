"""What still fits on a worker: cores and measured peak memory, and which cores a newcomer is pinned to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reserved:
    """What one child holds."""

    cores: tuple[int, ...]
    memory_bytes: int


def admit(
    *, cores: Sequence[int], memory_bytes: int, reserved: Iterable[Reserved], need_cores: int, need_bytes: int
) -> tuple[int, ...] | None:
    """Picks cores for a newcomer; None if it does not fit.

    Args:
        cores: the worker's, a number that comes twice being a share of that core.
        memory_bytes: the worker's.
        reserved: what its children hold.
        need_cores: of the newcomer.
        need_bytes: of the newcomer.
    """
    held = list(reserved)
    if need_bytes > memory_bytes - sum(reservation.memory_bytes for reservation in held):
        return None
    free = Counter(cores)
    for reservation in held:
        free.subtract(reservation.cores)
    # Different cores first, of those the least shared: two threads on one core are no two cores.
    rank = {
        core: at for at, core in reversed(list(enumerate(cores)))
    }  # ties in the worker's own order: neighbours begin elsewhere
    places = sorted((nth, -count, rank[core], core) for core, count in free.items() for nth in range(count))
    return tuple(sorted(core for *_, core in places[:need_cores])) if len(places) >= need_cores else None
