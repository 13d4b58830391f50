"""Owners for the partitions of what runs, and which topics have to grow for it. Pure but for its own state."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from infaas.bus.backlog import Backlogs
from infaas.scaler.fold import owners_of
from infaas.scaler.partitions import assign
from infaas.scaler.placement import Place
from infaas.schemas.metadata import Assignment
from infaas.store.view import View

STUCK_S = 1.0


@dataclass(frozen=True, slots=True)
class Owners:
    """What has to be written, and grown."""

    assignments: tuple[Assignment, ...] = ()
    growth: Mapping[str, int] = field(default_factory=dict)
    """Partitions wanted, by variant: work and offline alike."""


class Assigner:
    """Remembers since when each partition has been refused by its owner."""

    def __init__(self) -> None:
        self._stuck: dict[tuple[str, int], float] = {}

    def owners(
        self, view: View, placed: Mapping[Place, int], backlogs: Backlogs, now: float, *, without: AbstractSet[str]
    ) -> Owners:
        """Assignments that differ from what they should be.

        Only partitions that both of a variant's topics have are given to anybody; a topic that is behind grows, and what it has
        gained is given out when the next picture shows it.

        Args:
            view: the picture.
            placed: instances that should run.
            backlogs: with the partitions there are.
            now: monotonic seconds.
            without: variants whose work is being returned.
        """
        stuck, out, growth = self._refused(view, now), list[Assignment](), dict(backlogs.uneven)
        for variant in sorted({v for _, v in placed} | set(view.assignments)):
            partitions = backlogs.partitions.get(variant, 0)
            if not partitions or variant in without:
                continue
            owners = owners_of(view, variant, placed.items())
            if len(owners) > partitions:
                growth[variant] = max(growth.get(variant, 0), 1 << (len(owners) - 1).bit_length())
            before = view.assignments.get(variant)
            if before is None and not owners:
                continue
            after = assign(
                before.partitions if before else (), partitions, owners, stuck=stuck.get(variant, frozenset())
            )
            if before is None or before.partitions != after:
                out.append(Assignment(variant=variant, partitions=after))
        return Owners(tuple(out), growth)

    def _refused(self, view: View, now: float) -> dict[str, frozenset[int]]:
        """Partitions that their owner has let go of itself: it died of a record there, and another worker has to try."""
        since: dict[tuple[str, int], float] = {}
        for variant, assignment in view.assignments.items():
            for p, ownership in enumerate(assignment.partitions):
                owner = ownership.owner
                if owner is None or view.void(owner):
                    continue
                fact = view.instances.get((owner.worker, variant, owner.instance))
                if fact is not None and p in fact.released and p not in fact.taken and fact.state != "starting":
                    since[variant, p] = self._stuck.get((variant, p), now)
        self._stuck = since
        out: dict[str, set[int]] = {}
        for (variant, p), begun in since.items():
            if now - begun >= STUCK_S:
                out.setdefault(variant, set()).add(p)
        return {variant: frozenset(partitions) for variant, partitions in out.items()}
