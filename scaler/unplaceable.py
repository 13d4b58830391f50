"""Which variants have work that nobody can run, for how long, and its way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from infaas.bus.backlog import Backlogs, Waiting
from infaas.scaler.fold import ownerless
from infaas.scaler.journal import Journal
from infaas.scaler.placement import Place
from infaas.scaler.returns import Partition, Returns
from infaas.store.lane import Lane
from infaas.store.view import View

UNPLACEABLE_S = 2.0
RETURN_S = 120.0


class Unplaceable:
    """Returns work in a lane of its own, the variant first that has waited longest.

    Args:
        returns: does it.
        journal: for people.
        view: the picture now.
    """

    def __init__(self, returns: Returns, *, journal: Journal, view: Callable[[], View]) -> None:
        self._returns, self._journal, self._view = returns, journal, view
        self.lane = Lane("returns", deadline_s=RETURN_S)
        self._since: dict[str, float] = {}
        self._under_way: str | None = None
        self._committed: dict[Partition, int] = {}

    @property
    def under_way(self) -> frozenset[str]:
        """Variants whose partitions are being read: nobody gets them meanwhile, or what is in hand is answered twice."""
        return frozenset({self._under_way} if self.lane.busy and self._under_way else ())

    def step(self, placed: Mapping[Place, int], backlogs: Backlogs, now: float, *, epoch: int) -> None:
        """Takes in a decision."""
        view, somewhere, since = self._view(), {v for _, v in placed}, self._since
        self._since = {
            v: since.get(v, now) for v in backlogs.by_variant if v not in somewhere and ownerless(view, backlogs, v)
        }
        ripe = [v for v, begun in self._since.items() if now - begun >= UNPLACEABLE_S or _retired(view, v)]
        if self.lane.busy or not ripe:
            return
        variant = min(ripe, key=lambda v: (self._since[v], v))
        waiting = self._waiting(backlogs, variant)
        if not waiting:
            return

        def returned(committed: dict[Partition, int]) -> None:
            self._committed = {**self._committed, **committed}
            count = sum(committed[w.topic, w.partition] - w.begin for w in waiting)
            self._journal.write(variant, "Return", "no worker can run it", self._view(), records=count)

        self._under_way = variant
        self.lane.start(f"return {variant}", lambda: self._returns.give_back(variant, waiting), returned, epoch=epoch)

    def _waiting(self, backlogs: Backlogs, variant: str) -> list[Waiting]:
        """What nobody owns, without what was returned since the picture was taken."""
        known = {(w.topic, w.partition) for waiting in backlogs.by_variant.values() for w in waiting}
        self._committed = {place: offset for place, offset in self._committed.items() if place in known}
        partitions = [backlogs.of(variant)[at] for at in ownerless(self._view(), backlogs, variant)]
        left = [replace(w, begin=max(w.begin, self._committed.get((w.topic, w.partition), 0))) for w in partitions]
        return [w for w in left if w.count]


def _retired(view: View, variant: str) -> bool:
    return variant not in view.variants or view.variants[variant].state == "retired"
