"""Which instance owns which partition of a variant's work. Pure.

While any instance of a variant runs, every partition has an owner. As few partitions move as an even spread allows: a move
costs a drain and a take.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from infaas.schemas.metadata import Owner, Ownership


def assign(
    before: Sequence[Ownership],
    partitions: int,
    owners: Sequence[Owner],
    *,
    stuck: AbstractSet[int] = frozenset(),
) -> tuple[Ownership, ...]:
    """Owners by partition.

    Args:
        before: as it is; shorter than `partitions` after growth.
        partitions: of the topic, taken from the topic itself.
        owners: instances that may own, in a total order.
        stuck: partitions whose owner refuses them: they go to another worker where there is one.
    """
    old = [before[p] if p < len(before) else Ownership() for p in range(partitions)]
    if not owners:
        return tuple(_owned(ownership, None) for ownership in old)
    kept: dict[int, Owner] = {}
    for p, ownership in enumerate(old):
        if (
            ownership.owner is not None
            and ownership.owner in owners
            and not _elsewhere(ownership.owner, owners, stuck, p)
        ):
            kept[p] = ownership.owner
    load = {_id(owner): 0 for owner in owners}
    least, extra = divmod(partitions, len(owners))
    chosen: dict[int, Owner] = {}
    for p in sorted(kept):
        count = load[_id(kept[p])]
        # An even spread allows `least` to each, and one more to `extra` of them.
        if count < least or (count == least and sum(n > least for n in load.values()) < extra):
            chosen[p] = kept[p]
            load[_id(kept[p])] += 1
    for p in (p for p in range(partitions) if p not in chosen):
        able = [o for o in owners if not (p in stuck and o.worker == _worker(old[p]))] or list(owners)
        chosen[p] = min(able, key=lambda o: (load[_id(o)], _id(o)))
        load[_id(chosen[p])] += 1
    return tuple(_owned(ownership, chosen[p]) for p, ownership in enumerate(old))


def _elsewhere(owner: Owner, owners: Sequence[Owner], stuck: AbstractSet[int], partition: int) -> bool:
    return partition in stuck and any(o.worker != owner.worker for o in owners)


def _owned(old: Ownership, owner: Owner | None) -> Ownership:
    """The successor asks how the owner before ended, so that one is carried on."""
    return old if old.owner == owner else Ownership(owner=owner, previous=old.owner or old.previous)


def _id(owner: Owner) -> tuple[str, str, int]:
    return owner.worker, owner.boot_id, owner.instance


def _worker(ownership: Ownership) -> str | None:
    return ownership.owner.worker if ownership.owner else None
