"""How loaded each instance is, from its last report and what this router has sent since.

Backlog of a partition = (end - completed) of the last report + own confirmed sends at or past that end + own unconfirmed ones.
A report counts only for an instance in the view with the same boot id. What has been worked off since it is estimated (`Drain`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from infaas.router.drain import Drain
from infaas.router.policy import NotYet, RunningAt, Scene
from infaas.schemas.metadata import Instance, ServingState, serving
from infaas.schemas.reports import Backlog, InstanceReport, Position, WorkerReport
from infaas.store.view import View

PROCESS_START_MS = 600.0  # a Python process that imports an engine, until the first observation
CONTROL_DELAY_MS = 300.0  # from a wish to a started process, until the first observation
SMOOTH = 0.3
FORGET_ABOVE = 4096


@dataclass(slots=True)
class PartitionLoad:
    """One partition of a work topic."""

    end: int = 0
    completed: int = 0
    unconfirmed: int = 0
    sent: list[tuple[int, float]] = field(default_factory=list)
    """Own confirmed offsets at or past `end` and when (ms), ascending but for a rare retry."""

    def report(self, position: Position) -> None:
        """Takes in a report; an older one than what is known is ignored."""
        if position.end < self.end:
            return
        self.end, self.completed = position.end, position.completed
        if self.sent:
            self.sent.sort()
            del self.sent[: bisect_left(self.sent, (self.end, 0.0))]

    def confirm(self, offset: int, now_ms: float = 0.0) -> None:
        """One of our sends was confirmed."""
        if offset >= self.end:
            self.sent.append((offset, now_ms))
            if len(self.sent) > FORGET_ABOVE:  # nobody reports: what counts is that it is much
                del self.sent[: FORGET_ABOVE // 2]

    @property
    def backlog(self) -> int:
        """Queries that are there and not answered, as far as this router knows."""
        return max(0, self.end - self.completed) + len(self.sent) + self.unconfirmed


@dataclass(frozen=True, slots=True)
class Pace:
    """What an instance last said of its speed."""

    boot_id: str
    query_ms: float
    """0 = it has observed nothing yet."""
    slowdown: float = 1.0


class Load:
    """Everything this router knows of load; forgets what is no longer in the view."""

    def __init__(self) -> None:
        self._partitions: defaultdict[str, defaultdict[int, PartitionLoad]] = defaultdict(
            lambda: defaultdict(PartitionLoad)
        )
        self._pace: dict[tuple[str, str, int], Pace] = {}
        self._drains: dict[tuple[str, str, int], Drain] = {}
        self._wanted_at: dict[str, float] = {}
        self.start_delay_ms = CONTROL_DELAY_MS + PROCESS_START_MS
        """Observed time from a wish to an active instance, less the model's own load time."""

    def report(self, report: Backlog | WorkerReport, view: View, at_ms: float = 0.0) -> None:
        """Takes in what a worker said at `at_ms` of those of its instances that count in the view, under this boot id."""
        if not view.boot_counts(report.worker, report.boot_id):
            return
        for one in report.entries if isinstance(report, Backlog) else report.instances:
            key = (report.worker, one.variant, one.instance)
            fact = view.all_instances.get(key)
            if fact is None or fact.boot_id != report.boot_id:
                continue
            if isinstance(one, InstanceReport):
                slowdown = one.slowdown
            else:
                old = self._pace.get(key)
                slowdown = old.slowdown if old and old.boot_id == report.boot_id else 1.0
            self._pace[key] = Pace(report.boot_id, one.query_ms, slowdown)
            loads = self._partitions[one.variant]
            for position in one.positions:
                loads[position.partition].report(position)
            self._drains[key] = self._drain(view, key, [loads[p.partition] for p in one.positions], at_ms - one.age_ms)

    def _drain(self, view: View, key: tuple[str, str, int], loads: Sequence[PartitionLoad], at_ms: float) -> Drain:
        waiting = sum(max(0, one.end - one.completed) for one in loads)
        sent = [when for one in loads for _, when in one.sent]
        return Drain.since(at_ms, waiting, sent, sum(one.unconfirmed for one in loads), self._query_ms(view, key))

    def _query_ms(self, view: View, key: tuple[str, str, int]) -> float:
        pace, profile = self._pace.get(key), view.variants[key[1]].profile if key[1] in view.variants else None
        if pace is not None and pace.query_ms > 0:  # 0 = it has observed nothing yet
            return pace.query_ms
        return profile.latency_ms(1) if profile is not None else 1.0

    def sending(self, variant: str, partition: int) -> None:
        """A record was produced."""
        self._partitions[variant][partition].unconfirmed += 1

    def sent(self, variant: str, partition: int, offset: int | None, now_ms: float = 0.0) -> None:
        """It was confirmed at `offset`, or failed (None)."""
        load = self._partitions[variant][partition]
        load.unconfirmed = max(0, load.unconfirmed - 1)  # the variant may have been forgotten meanwhile
        if offset is not None:
            load.confirm(offset, now_ms)

    def want(self, variant: str, now_ms: float) -> bool:
        """Remembers that a variant is wanted; True if that is news."""
        if variant in self._wanted_at:
            return False
        self._wanted_at[variant] = now_ms
        return True

    def scene(self, view: View, variants: tuple[str, ...], now_ms: float, placeable: Callable[[str], bool]) -> Scene:
        """What runs of these variants, and what could."""
        running: dict[str, list[RunningAt]] = {}
        not_yet: dict[str, NotYet] = {}
        for name in variants:
            found = self._running(view, name, now_ms)
            if found:
                running[name] = found
                self._started(view, name, now_ms)
            else:
                not_yet[name] = self._not_yet(view, name, now_ms, placeable)
        return Scene(running, not_yet)

    def forget(self, view: View) -> None:
        """Drops what is no longer in the catalogue."""
        for name in [name for name in self._partitions if name not in view.variants]:
            del self._partitions[name]
        for key in [key for key in self._pace if key not in view.all_instances]:
            del self._pace[key]
            self._drains.pop(key, None)
        for name in [name for name in self._wanted_at if name not in view.variants]:
            del self._wanted_at[name]

    def _running(self, view: View, variant: str, now_ms: float) -> list[RunningAt]:
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
                out.append(self._at(view, fact, state, tuple(partitions), now_ms))
        return out

    def _at(
        self, view: View, fact: Instance, state: ServingState, partitions: tuple[int, ...], now_ms: float
    ) -> RunningAt:
        key = (fact.worker, fact.variant, fact.instance)
        pace = self._pace.get(key)
        if pace is None or pace.boot_id != fact.boot_id:
            self._pace.pop(key, None)
            self._drains.pop(key, None)
            pace = Pace(fact.boot_id, 0.0)
        loads = self._partitions[fact.variant]
        counted, query_ms = sum(loads[p].backlog for p in partitions), self._query_ms(view, key)
        drain = self._drains.get(key)
        backlog = float(counted) if drain is None else drain.left(now_ms, counted, query_ms)
        return RunningAt(fact.worker, fact.instance, state, backlog, query_ms, pace.slowdown, partitions)

    def _not_yet(self, view: View, variant: str, now_ms: float, placeable: Callable[[str], bool]) -> NotYet:
        profile = view.variants[variant].profile
        assert profile is not None
        whole = self.start_delay_ms + profile.load_ms
        waiting = sum(load.backlog for load in self._partitions[variant].values())
        starting = [f for f in view.instances_of.get(variant, ()) if f.state == "starting"]
        begun = min((f.since_ms for f in starting), default=None)
        wanted = self._wanted_at.get(variant)
        since = begun if begun is not None else wanted
        elapsed = 0.0 if since is None else max(0.0, now_ms - since)
        # What is late already may take as long again: it must not look nearer and nearer.
        left = whole - elapsed if elapsed < whole else whole
        return NotYet(left, waiting, starting=bool(starting), placeable=placeable(variant))

    def _started(self, view: View, variant: str, now_ms: float) -> None:
        wanted = self._wanted_at.pop(variant, None)
        profile = view.variants[variant].profile
        if wanted is not None and profile is not None:
            took = max(0.0, now_ms - wanted - profile.load_ms)
            self.start_delay_ms += SMOOTH * (took - self.start_delay_ms)
