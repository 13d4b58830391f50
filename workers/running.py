"""One instance as its supervisor sees it: the process, its partitions, its fact, what it reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

import psutil

from infaas.host.child import Child
from infaas.host.messages import (
    Alive,
    BatchBegan,
    BatchEnded,
    DeathBefore,
    Failed,
    Finished,
    FromChild,
    Measured,
    Ready,
    Refused,
    Release,
    Released,
    Stats,
    Stop,
    Stopped,
    Take,
    Taken,
)
from infaas.policy.capacity import capacity
from infaas.schemas import metadata
from infaas.schemas.metadata import SERVING, Instance, InstanceState, Owner, Variant
from infaas.schemas.reports import BacklogEntry, InstanceReport, Position
from infaas.store.view import View
from infaas.workers.monitor import Observed
from infaas.workers.ownership import Ownership

log = logging.getLogger(__name__)
CRASHES, CRASH_WINDOW_S = 3, 60.0
ALONE_CRASHES = 8
"""Crashes while a record ran alone are the record's fault, not the instance's; but not for ever."""
BACKOFF_S, BACKOFF_MAX_S = 0.2, 5.0
DRAIN_S = 15.0
LOAD_FACTOR, LOAD_FLOOR_S = 20.0, 60.0


@dataclass
class Progress:
    """What the child last said of itself."""

    overdue_at: float | None = None
    alone: bool = False
    furthest: dict[int, int] = field(default_factory=dict)
    stats: Stats | None = None
    heard_at: float = 0.0
    """When the stats were heard, monotonic s."""

    @property
    def age_ms(self) -> float:
        """How old the stats are."""
        return round((time.monotonic() - self.heard_at) * 1000.0, 1) if self.stats else 0.0


class Running:
    """Keeps one instance running; `step` is one iteration.

    Args:
        variant: with its profile.
        me: worker, boot id and number.
        launch: starts the child's process on these cores.
        cores: reserved for it.
        write: writes its fact.
        now_ms: the broker's clock.
    """

    def __init__(
        self,
        *,
        variant: Variant,
        me: Owner,
        launch: Callable[[], Child],
        cores: tuple[int, ...],
        write: Callable[[Instance], None],
        now_ms: Callable[[], float],
    ) -> None:
        assert variant.profile is not None
        self.variant, self.me, self.cores = variant, me, cores
        self.profile = variant.profile
        self._launch, self._write, self._now_ms = launch, write, now_ms
        self.ownership = Ownership(variant.variant, me)
        self.state: InstanceState = "starting"
        self.reason = ""
        self.draining = False
        self._drain_by = 0.0
        self._sequence = 0
        self._crashes: list[tuple[float, bool]] = []
        self._restart_at = 0.0
        self._progress = Progress()
        self._observed = Observed()
        self._slot_at, self._slot_arrived = time.monotonic(), 0
        self._batches = 0
        self._released_by: dict[int, float] = {}
        self.child: Child | None = launch()
        self._fact()

    @property
    def memory_bytes(self) -> int:
        """What it is accounted with."""
        return self.profile.peak_memory_bytes

    @property
    def gone(self) -> bool:
        """Drained and ended: its supervisor forgets it."""
        return self.draining and self.child is None

    def drain(self) -> None:
        """Releases everything, then ends."""
        if not self.draining:
            self.draining, self._drain_by = True, time.monotonic() + DRAIN_S
            self.state = "draining"
            self._fact()

    def step(self, view: View, *, others: bool) -> None:
        """Hears the child, keeps its partitions as the view says, and watches over it."""
        if self.child is not None:
            for message in self.child.heard():
                self._hear(message)
            status = self.child.status()
            if status is not None:
                for message in self.child.heard():
                    self._hear(message)
                self._ended(status)
        if self.child is None:
            self._maybe_restart()
            return
        self._watch()
        if self.child is not None and self.state not in ("starting", "failed"):
            self._own(view, others=others)

    def read_back(self, fact: Instance, before: View) -> None:
        """One of its facts was read in the log."""
        self.ownership.read_back(fact, before)

    def rewrite(self) -> None:
        """Writes its fact again, after somebody of an earlier life wrote over it."""
        self._fact()

    def slot(self) -> None:
        """One slot of the monitor; writes the fact if the state changes."""
        now, stats = time.monotonic(), self._progress.stats
        if self.state not in SERVING or stats is None:
            return
        arrived = stats.counters.arrived
        rate = (arrived - self._slot_arrived) / max(1e-3, now - self._slot_at)
        self._slot_at, self._slot_arrived = now, arrived
        self._observed = self._observed.slot(arrivals_per_s=rate, capacity_per_s=capacity(self.profile, None))
        if self._observed.state != self.state:
            self.state = self._observed.state
            self._fact()

    def report(self) -> InstanceReport:
        """Its part of the worker's report."""
        stats = self._progress.stats
        return InstanceReport(
            variant=self.variant.variant,
            instance=self.me.instance,
            pid=self.child.pid if self.child else 0,
            state=self.state,
            query_ms=self.query_ms,
            slowdown=self._observed.slowdown,
            memory_bytes=self._memory(),
            positions=self.backlog().positions,
            age_ms=self._progress.age_ms,
            **(stats.counters.model_dump() if stats else {}),
        )

    @property
    def query_ms(self) -> float:
        """Observed time a query, or the profile's while nothing is observed."""
        return self._observed.query_ms or self.profile.latency_ms(1)

    def backlog(self) -> BacklogEntry:
        """How far it is."""
        return BacklogEntry(
            variant=self.variant.variant,
            instance=self.me.instance,
            query_ms=round(self.query_ms, 4),
            positions=tuple(
                Position(partition=at.partition, end=at.end, completed=at.completed)
                for at in (self._progress.stats.positions if self._progress.stats else ())
            ),
            age_ms=self._progress.age_ms,
        )

    def end(self) -> None:
        """Ends the child now; nothing is written."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def ask_to_stop(self) -> None:
        """Tells the child to finish; `end` makes sure of it."""
        if self.child is not None:
            self.child.tell(Stop())

    # ---- the child

    def _hear(self, message: FromChild) -> None:
        own, progress = self.ownership, self._progress
        match message:
            case Ready():
                self.state = "draining" if self.draining else "active"
                self._fact()
            case BatchBegan():
                progress.overdue_at = time.monotonic() + message.limit_ms / 1000.0
                progress.alone = message.alone
                progress.furthest = dict(message.furthest)
            case BatchEnded():
                progress.overdue_at, progress.alone = None, False
            case Stats():
                self._take_stats(message)
            case Released():
                own.release(message.partition)
                self._released_by.pop(message.partition, None)
                self._fact()
            case Refused():
                own.refuse(message.partition)
                self._fact()
            case Failed():
                self.reason = message.reason
            case Taken() | Alive() | Stopped():
                pass
            case Measured() | Finished():
                log.warning("an instance spoke as a build", extra={"said": message.said})
            case _ as never:
                assert_never(never)

    def _take_stats(self, stats: Stats) -> None:
        self._progress.stats, self._progress.heard_at = stats, time.monotonic()
        last, batches = stats.last, stats.counters.batches
        if last is not None and batches != self._batches:
            self._batches = batches
            self._observed = self._observed.observe(
                batch_ms=last.took_ms, queries=last.queries, expected_ms=last.expected_ms
            )

    def _ended(self, status: int) -> None:
        assert self.child is not None
        self.child.reap()
        self.child = None
        if self.draining and status == 0:
            self.ownership.lose(None)
            self._fact()
            return
        self._died(f"ended with status {status}")

    def _died(self, why: str) -> None:
        now = time.monotonic()
        self.ownership.lose(self._progress.furthest)
        self._crashes = [c for c in self._crashes if now - c[0] < CRASH_WINDOW_S] + [(now, self._progress.alone)]
        own_fault = sum(not alone for _, alone in self._crashes)
        self._progress, self._observed, self._batches, self._slot_arrived = Progress(), Observed(), 0, 0
        if own_fault >= CRASHES or len(self._crashes) >= ALONE_CRASHES:
            self.state = "failed"
            self.reason = self.reason or f"{len(self._crashes)} crashes within {CRASH_WINDOW_S:g} s, the last {why}"
        elif not self.draining:
            self.state = "starting"
            self._restart_at = now + min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (len(self._crashes) - 1))
        self._fact()

    def _maybe_restart(self) -> None:
        if self.state == "starting" and not self.draining and time.monotonic() >= self._restart_at:
            self.child = self._launch()

    def _watch(self) -> None:
        """Kills what makes no progress: a batch that is overdue (a death), a drain that is (no death), a load."""
        assert self.child is not None
        now, progress = time.monotonic(), self._progress
        if progress.overdue_at is not None and now > progress.overdue_at:
            self.child.kill()
            self.child = None
            self._died("killed: its batch was overdue")
        elif self.state == "starting":
            limit = max(LOAD_FLOOR_S, LOAD_FACTOR * self.profile.load_ms / 1000.0)
            if now > self.child.started_at + limit:
                self.child.kill()
                self.child = None
                self._died(f"killed: not loaded within {limit:g} s")
        elif (self.draining and now > self._drain_by) or any(now > by for by in self._released_by.values()):
            self.child.kill()
            self.child = None
            self._released_by.clear()
            self.ownership.lose(None)
            if not self.draining:
                self.state, self._restart_at = "starting", now
            self._fact()

    # ---- its partitions

    def _own(self, view: View, *, others: bool) -> None:
        assert self.child is not None
        own = self.ownership
        for partition in own.grants():
            death = own.death_before(view, partition)
            before = None if death is None else DeathBefore(worker=death.worker, furthest=death.furthest)
            self.child.tell(Take(partition=partition, death=before, others=others))
        for partition in own.surplus(view, draining=self.draining):
            self.child.tell(Release(partition=partition))
            self._released_by[partition] = time.monotonic() + DRAIN_S
        changed = own.give_back()
        if not self.draining:
            changed = own.want(view, self._sequence + 1, others=others) or changed
        if changed:
            self._fact()
        if self.draining and not own.holding:
            self.child.tell(Stop())

    def _fact(self) -> None:
        self._sequence += 1
        own = self.ownership
        self._write(
            metadata.Instance(
                worker=self.me.worker,
                boot_id=self.me.boot_id,
                variant=self.variant.variant,
                instance=self.me.instance,
                state=self.state,
                taken=own.taken(),
                released=tuple(sorted(own.released)),
                died=dict(own.died),
                sequence=self._sequence,
                since_ms=int(self._now_ms()),
                reason=self.reason,
            )
        )

    def _memory(self) -> int:
        try:
            return int(psutil.Process(self.child.pid).memory_info().rss) if self.child else 0
        except psutil.Error:
            return 0
