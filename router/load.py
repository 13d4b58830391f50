"""How loaded each instance is, from its last report and what this router has sent since.

Backlog of a partition = (end - completed) of the last report + own confirmed sends at or past that end + own unconfirmed ones.
A report counts only for an instance in the view with the same boot id. What has been worked off since it is estimated (`Drain`).
Of a variant that does not run nobody reports: what was returned, what nobody wants any more, and what has waited so long that
the scaler has returned it, no longer counts there.

A query counts as one, whatever its rows: a router does not read values. It need not: the time a query that instances report
is observed over queries as they come, rows and all.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from infaas.router.drain import TRUST_MS, Drain
from infaas.router.hops import Hops
from infaas.router.live import Live
from infaas.router.policy import NotYet, Scene
from infaas.router.running import RunningAt
from infaas.router.scenes import Scenes
from infaas.router.starts import Starts
from infaas.schemas.metadata import Instance, ServingState, serving
from infaas.schemas.reports import Backlog, InstanceReport, Position, VariantWanted, WorkerReport
from infaas.store.view import View

FORGET_ABOVE = 4096
ORPHAN_MS = (
    5_000.0  # what nothing runs or starts for is placed or returned by then: a verdict takes 3 s, the scaler 2 s
)


class Sent(NamedTuple):
    """One of our sends that was confirmed."""

    offset: int
    at_ms: float
    drop_after_ms: float = math.inf
    """When nobody wants it any more."""


@dataclass(slots=True)
class PartitionLoad:
    """One partition of a work topic."""

    end: int = 0
    completed: int = 0
    unconfirmed: int = 0
    reported_ms: float = 0.0
    sent: list[Sent] = field(default_factory=list)
    """Own confirmed sends at or past `end`, ascending but for a rare retry."""

    def report(self, position: Position, at_ms: float = 0.0) -> None:
        """Takes in a report; an older one than what is known is ignored."""
        if position.end < self.end:
            return
        self.end, self.completed, self.reported_ms = position.end, position.completed, at_ms
        if self.sent:
            self.sent.sort()
            del self.sent[: bisect_left(self.sent, (self.end, 0.0))]

    def confirm(self, sent: Sent) -> bool:
        """One of our sends was confirmed; False if the last report had counted it as well."""
        if sent.offset < self.end:
            return False
        self.sent.append(sent)
        if len(self.sent) > FORGET_ABOVE:  # nobody reports: what counts is that it is much
            del self.sent[: FORGET_ABOVE // 2]
        return True

    @property
    def backlog(self) -> int:
        """Queries that are there and not answered, as far as this router knows."""
        return max(0, self.end - self.completed) + len(self.sent) + self.unconfirmed

    def waiting(self, now_ms: float, since_ms: float) -> int:
        """The same while nobody owns it: what was sent or reported since `since_ms` and is still wanted."""
        reported = max(0, self.end - self.completed) if self.reported_ms >= since_ms else 0
        wanted = sum(sent.at_ms >= since_ms and sent.drop_after_ms >= now_ms for sent in self.sent)
        return reported + wanted + self.unconfirmed

    def returned(self, at_ms: float) -> None:
        """What was there by then is somebody else's."""
        self.sent = [sent for sent in self.sent if sent.at_ms > at_ms]
        if self.reported_ms <= at_ms:
            self.completed = self.end


Key = tuple[str, str, int]
"""Worker, variant, number of the instance."""


class Load:
    """Everything this router knows of load; forgets what is no longer in the view."""

    def __init__(self) -> None:
        self._partitions: defaultdict[str, defaultdict[int, PartitionLoad]] = defaultdict(
            lambda: defaultdict(PartitionLoad)
        )
        self._lives: dict[Key, Live] = {}
        self._wanted_at: dict[str, float] = {}
        self._starts = Starts()
        self._scenes = Scenes(self)
        self.hops = Hops()

    def report(self, report: Backlog | WorkerReport | VariantWanted, view: View, at_ms: float = 0.0) -> None:
        """Takes in what a worker said at `at_ms` of those of its instances that count in the view, under this boot id.

        Or what any router wants: so that all choose what starts for one of them.
        """
        if isinstance(report, VariantWanted):
            if report.variant in view.variants and not owned_by(view, report.variant):
                self.want(report.variant, view, at_ms)
            return
        if not view.boot_counts(report.worker, report.boot_id):
            return
        for one in report.entries if isinstance(report, Backlog) else report.instances:
            fact = view.all_instances.get((report.worker, one.variant, one.instance))
            if fact is None or fact.boot_id != report.boot_id:
                continue
            live = self._live(view, fact, at_ms)
            if isinstance(one, InstanceReport):
                live.seen.slowdown = one.slowdown
            if one.query_ms > 0:  # 0 = it has observed nothing yet
                live.seen.query_ms = one.query_ms
            partitions = self._partitions[one.variant]
            loads = [partitions[position.partition] for position in one.positions]
            for load, position in zip(loads, one.positions, strict=True):
                load.report(position, at_ms)
            self._drain_since(live, loads, at_ms - one.age_ms)
            live.moved()

    def _live(self, view: View, fact: Instance, now_ms: float) -> Live:
        key = (fact.worker, fact.variant, fact.instance)
        live = self._lives.get(key)
        if live is None or live.boot_id != fact.boot_id:
            profile = view.variants[fact.variant].profile if fact.variant in view.variants else None
            query_ms = profile.latency_ms(1) if profile is not None else 1.0
            seen = RunningAt(fact.worker, fact.instance, "active", 0.0, query_ms, 1.0, ())
            live = self._lives[key] = Live(fact.boot_id, seen, Drain(0.0, now_ms, now_ms + TRUST_MS))
        return live

    def _drain_since(self, live: Live, loads: Sequence[PartitionLoad], at_ms: float) -> None:
        waiting, unconfirmed, each_ms = 0, 0, live.seen.query_ms
        sent: list[float] = []
        for one in loads:
            waiting += max(0, one.end - one.completed)
            unconfirmed += one.unconfirmed
            if one.sent:
                sent += [send.at_ms for send in one.sent]
        begun = live.drain.under_way(at_ms, each_ms)
        drain = Drain.since(at_ms, waiting, sent, unconfirmed, each_ms, begun)
        drain.deadlines = live.drain.deadlines
        live.drain = drain

    def sending(
        self,
        variant: str,
        partition: int,
        to: RunningAt | None = None,
        now_ms: float = 0.0,
        deadline_ms: float = math.inf,
    ) -> None:
        """A record is produced, to an instance if it runs."""
        self._partitions[variant][partition].unconfirmed += 1
        live = None if to is None else self._lives.get((to.worker, variant, to.instance))
        if live is not None and live.seen is to:
            live.drain.add(now_ms, to.query_ms, deadline_ms)
            live.moved()

    def sent(
        self,
        variant: str,
        partition: int,
        offset: int | None,
        now_ms: float = 0.0,
        drop_after_ms: float = math.inf,
        *,
        to: RunningAt | None = None,
        deadline_ms: float = math.inf,
    ) -> None:
        """It was confirmed at `offset`, or failed (None)."""
        loads = self._partitions.get(variant)
        load = None if loads is None else loads.get(partition)
        if load is None:
            return  # the variant was forgotten meanwhile
        load.unconfirmed = max(0, load.unconfirmed - 1)
        if offset is not None and load.confirm(Sent(offset, now_ms, drop_after_ms)):
            return
        # It did not arrive, or was counted twice.
        live = None if to is None else self._lives.get((to.worker, variant, to.instance))
        if live is not None and live.seen is to:
            live.drain.withdraw(deadline_ms)
            live.moved()

    def returned(self, variants: Iterable[str], at_ms: float) -> None:
        """Work of these variants came back, since nothing ran it: what was sent there before does not wait there."""
        for variant in variants:
            self._wanted_at.pop(variant, None)
            for load in self._partitions.get(variant, {}).values():
                load.returned(at_ms)
            for key in [key for key in self._lives if key[1] == variant]:
                del self._lives[key]
                self._scenes.clear()

    def want(self, variant: str, view: View, now_ms: float) -> bool:
        """Remembers that a variant is wanted; True if that is news. A wish that nothing came of counts no longer."""
        wished = self._wished(view, variant, now_ms) is None
        if wished:
            self._wanted_at[variant] = now_ms
        return wished

    def learn_starts(self, view: View, now_ms: float) -> None:
        """Of variants that were wanted and now run, how long that took."""
        for variant in [name for name in self._wanted_at if owned_by(view, name)]:
            wanted_ms, record = self._wanted_at.pop(variant), view.variants.get(variant)
            if record is not None and record.profile is not None:
                self._starts.observe(variant, now_ms - wanted_ms - record.profile.load_ms, now_ms)

    def _wished(self, view: View, variant: str, now_ms: float) -> float | None:
        """When it was wanted, unless nothing started within the time in which it would have been returned."""
        wanted = self._wanted_at.get(variant)
        if wanted is None or now_ms - wanted <= ORPHAN_MS or _starting(view, variant):
            return wanted
        return None

    def scene(self, view: View, variants: tuple[str, ...], now_ms: float) -> Scene:
        """What runs of these variants, and what could: kept while the view is the same, and brought up to this moment."""
        return self._scenes.at(view, variants, now_ms)

    def forget(self, view: View) -> None:
        """Drops what is no longer in the catalogue."""
        for name in [name for name in self._partitions if name not in view.variants]:
            del self._partitions[name]
        for key in [key for key in self._lives if key not in view.all_instances]:
            del self._lives[key]
        for name in [name for name in self._wanted_at if name not in view.variants]:
            del self._wanted_at[name]
        self._starts.forget(view.variants)
        self._scenes.clear()

    def running(self, view: View, variant: str, now_ms: float) -> list[Live]:
        """Its instances that run and own partitions."""
        out = []
        for fact, state, partitions in owned_by(view, variant):
            live = self._live(view, fact, now_ms)
            live.seen.condition = state
            if live.seen.partitions != partitions:
                loads = self._partitions[variant]
                live.seen.partitions = partitions
                counted = sum(loads[p].backlog for p in partitions)
                live.drain = Drain(float(counted), now_ms, now_ms + TRUST_MS)
            out.append(live)
        return out

    def not_yet(self, view: View, variant: str, now_ms: float, *, placeable: bool) -> NotYet:
        """One that does not run."""
        profile = view.variants[variant].profile
        assert profile is not None
        whole = self._starts.delay_ms(variant, now_ms) + profile.load_ms
        starting = _starting(view, variant)
        begun = min((fact.since_ms for fact in starting), default=None)
        since = begun if begun is not None else self._wished(view, variant, now_ms)
        elapsed = 0.0 if since is None else max(0.0, now_ms - since)
        # What is late already may take as long again: it must not look nearer and nearer.
        left = whole - elapsed if elapsed < whole else whole
        counts_from = -math.inf if starting else now_ms - ORPHAN_MS
        waiting = sum(load.waiting(now_ms, counts_from) for load in self._partitions.get(variant, {}).values())
        # What is wanted starts: else the next query, behind those that wait there, would wake another variant.
        return NotYet(left, waiting, starting=since is not None, placeable=placeable)


def owned_by(view: View, variant: str) -> list[tuple[Instance, ServingState, tuple[int, ...]]]:
    """Instances that run and own partitions, with these."""
    assignment = view.assignments.get(variant)
    if assignment is None:
        return []
    owned: dict[tuple[str, str, int], list[int]] = {}
    for partition, one in enumerate(assignment.partitions):
        if one.owner is not None:
            owned.setdefault((one.owner.worker, one.owner.boot_id, one.owner.instance), []).append(partition)
    out = []
    for fact in view.instances_of.get(variant, ()):
        partitions = owned.get((fact.worker, fact.boot_id, fact.instance))
        if partitions and (state := serving(fact.state)) is not None:
            out.append((fact, state, tuple(partitions)))
    return out


def _starting(view: View, variant: str) -> list[Instance]:
    return [fact for fact in view.instances_of.get(variant, ()) if fact.state == "starting"]
