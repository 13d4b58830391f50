"""The topics: grown, emptied of what is answered, deleted when their variant is gone. All of it in a lane of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from infaas.bus.admin import Admin
from infaas.bus.backlog import Backlogs, read_backlogs
from infaas.scaler.fold import Fold
from infaas.scaler.journal import Journal
from infaas.scaler.retiring import Retiring, passed
from infaas.schemas.topics import RETURNS, ROUTER_GROUP, TopicNames
from infaas.store.lane import Lane
from infaas.store.leadership import Leadership
from infaas.store.view import View

RETAIN_S = 60.0
UPKEEP_S = 120.0


class Upkeep:
    """One task at a time: growth first, then retention, then retirement.

    Args:
        admin: does it.
        names: of the cell.
        leadership: under whose epoch it is done.
        journal: for people.
        view: the picture now.
    """

    def __init__(
        self, admin: Admin, *, names: TopicNames, leadership: Leadership, journal: Journal, view: Callable[[], View]
    ) -> None:
        self._admin, self._names, self._leadership = admin, names, leadership
        self._journal, self._view = journal, view
        self.lane = Lane("topics", deadline_s=UPKEEP_S)
        self._retiring = Retiring()
        self._next_retain = 0.0

    def step(self, fold: Fold, backlogs: Backlogs, growth: Mapping[str, int], now: float) -> None:
        """Starts what is due, if nothing is under way."""
        retired = self._retiring.update(self._view())
        self._clear(backlogs)
        gone = [v for v in retired if backlogs.of(v)]
        if self.lane.busy:
            return
        if growth:
            self._grow(growth)
        elif now >= self._next_retain:
            self._next_retain = now + RETAIN_S
            self._retain(backlogs)
        elif gone:
            self._retire({v: retired[v] for v in gone}, fold)

    def _clear(self, backlogs: Backlogs) -> None:
        """No assignment outlives its variant's topics; said until the view shows it."""
        view = self._view()
        for name, assignment in view.assignments.items():
            variant = view.variants.get(name)
            if variant is None or (variant.state == "retired" and not backlogs.of(name)):
                self._leadership.delete(assignment.key)

    def _grow(self, growth: Mapping[str, int]) -> None:
        def grow() -> None:
            for variant, partitions in growth.items():
                self._admin.grow(variant, partitions)

        def grown(_: None) -> None:
            for variant, partitions in growth.items():
                self._journal.write(variant, "Grow", f"to {partitions} partitions", self._view())

        self.lane.start("grow", grow, grown, epoch=self._leadership.epoch)

    def _retain(self, backlogs: Backlogs) -> None:
        answered = {
            (w.topic, w.partition): w.begin
            for partitions in backlogs.by_variant.values()
            for w in partitions
            if w.begin > w.low
        }

        def retain() -> None:
            self._admin.delete_below({**answered, **self._returned()})

        self.lane.start("retention", retain, lambda _: None, epoch=self._leadership.epoch)

    def _returned(self) -> dict[tuple[str, int], int]:
        """Of what was returned, what the routers have taken on."""
        topics = {self._names.of(RETURNS): self._admin.partitions(self._names.of(RETURNS))}
        marks = self._admin.watermarks(topics)
        commits = self._admin.committed(topics, group=self._names.group(ROUTER_GROUP))
        return {
            place: commit.offset
            for place, commit in commits.items()
            if commit.offset is not None and commit.offset > marks.get(place, (commit.offset, 0))[0]
        }

    def _retire(self, retired: Mapping[str, int], fold: Fold) -> None:
        def asked(members: set[str]) -> None:
            view, heard = self._view(), fold.routers()
            ripe = [v for v, since in retired.items() if passed(since, members, heard) and not _runs(view, v)]
            if ripe:
                self.lane.start("delete", lambda: self._delete(ripe), self._deleted, epoch=self._leadership.epoch)

        group = self._names.group(ROUTER_GROUP)
        self.lane.start("members", lambda: self._admin.group_members(group), asked, epoch=self._leadership.epoch)

    def _delete(self, variants: Sequence[str]) -> list[str]:
        # Asked again, for what was sent between the last answer and the routers' word that no more comes.
        backlogs = read_backlogs(self._admin, self._names, variants)
        empty = [v for v in variants if not backlogs.count(v)]
        for variant in empty:
            self._admin.delete_variant_topics(variant)
        return empty

    def _deleted(self, variants: list[str]) -> None:
        view = self._view()
        for variant in variants:
            self._journal.write(variant, "Retire", "no router can send to it any more, and nothing waits", view)


def _runs(view: View, variant: str) -> bool:
    return bool(view.instances_of.get(variant)) or any(w[1] == variant for w in view.placements)
