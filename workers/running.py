"""One instance as its supervisor sees it: the process, its partitions, its fact, what it reports.

A process ends in one of three ways, and the fact says which, for the next owner asks:
- it released what it had, or it is killed because that took too long: *released*;
- it died or is killed as dead (silent, its batch overdue, not loaded in time): *died*, with how far it had taken;
- it gave up for a reason outside of it (`Failed.retryable`): *released*; it is started again after a pause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import assert_never

from infaas.host.backoff import Backoff
from infaas.host.child import Child
from infaas.host.deadlines import HEARTBEAT_S, RELEASE_S
from infaas.host.endings import ending
from infaas.host.messages import (
    Alive,
    BatchBegan,
    BatchEnded,
    DeathBefore,
    Failed,
    Finished,
    FromChild,
    Keep,
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
from infaas.schemas.metadata import SERVING, Instance, InstanceState, Owner, Variant
from infaas.schemas.reports import BacklogEntry, InstanceReport
from infaas.store.view import View
from infaas.workers.crashes import Crashes, Fault
from infaas.workers.heard import Heard
from infaas.workers.monitor import Observed
from infaas.workers.ownership import Ownership
from infaas.workers.spending import Spending

log = logging.getLogger(__name__)
LOAD_FACTOR, LOAD_FLOOR_S = 20.0, 60.0
AGAIN_S = 1.0
"""After which a fact that is not read back is written again."""
STEADY_S = 30.0
"""Having run for so long, the next pause is short again."""


class Running:
    """Keeps one instance running; `step` is one iteration.

    Args:
        variant: with its profile.
        me: worker, boot id and number.
        launch: starts the child's process on these cores.
        cores: reserved for it.
        write: writes its fact.
        now_ms: the broker's clock.
        now: monotonic seconds.
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
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        assert variant.profile is not None
        self.variant, self.me, self.cores = variant, me, cores
        self.profile = variant.profile
        self._launch, self._write, self._now_ms, self._now = launch, write, now_ms, now
        self.ownership = Ownership(variant.variant, me)
        self.state: InstanceState = "starting"
        self.reason = ""
        self.draining = False
        self._drain_by_s = 0.0
        self._sequence = 0
        self._fact_s = 0.0
        self._settled: View | None = None
        """The view on which its partitions are as they should be; None = they have to be looked at."""
        self._crashes, self._backoff = Crashes(), Backoff()
        self.child: Child | None = None
        self._observed, self._batches, self._spending = Observed(), 0, Spending.of(variant, self.profile, now())
        self._slot_s, self._slot_arrived = now(), 0
        self._begin()
        self._fact()

    @property
    def memory_bytes(self) -> int:
        """What it is accounted with."""
        return self.profile.peak_memory_bytes

    @property
    def changing(self) -> bool:
        """Whether it starts or ends, or partitions come or go."""
        steady = self.state in SERVING and not self.draining and self.ownership.steady
        return self.draining if self.state == "failed" else self._settled is None or not steady

    @property
    def news_s(self) -> float:
        """When it last told of its work, monotonic; 0 = never."""
        return self._heard.stats_s

    @property
    def gone(self) -> bool:
        """Drained and ended: its supervisor forgets it."""
        return self.draining and self.child is None

    def drain(self) -> None:
        """Releases everything, then ends."""
        if not self.draining:
            self.draining, self._drain_by_s = True, self._now() + RELEASE_S
            if self.state != "failed":
                self.state = "draining"
            self._fact()

    def step(self, view: View, *, others: bool) -> None:
        """Hears the child, keeps its partitions as the view says, and watches over it."""
        if self.child is not None:
            self._listen(self.child)
        if self.child is not None:
            self._watch(self.child)
        if self.child is not None:
            self._keep(self.child)
        if self.child is None:
            self._maybe_start()
        elif self.state not in ("starting", "failed") and (view is not self._settled or self.changing):
            self._settled = view
            self._own(self.child, view, others=others)

    def read_back(self, fact: Instance, before: View) -> None:
        """One of its facts was read in the log."""
        self._settled = None
        self.ownership.read_back(fact, before)

    def slot(self) -> None:
        """One slot of the monitor; writes the fact if the state changes."""
        now_s, stats = self._now(), self._heard.stats
        if self.state not in SERVING or stats is None:
            return
        arrived = stats.counters.arrived
        rate = (arrived - self._slot_arrived) / max(1e-3, now_s - self._slot_s)
        self._slot_s, self._slot_arrived = now_s, arrived
        if self.child is not None:
            self._spending = self._spending.slot(now_s, self.child.cpu_s, stats.counters)
        self._observed = self._observed.slot(arrivals_per_s=rate, capacity_per_s=self._spending.capacity_per_s)
        if self._observed.state != self.state:
            self.state = self._observed.state
            self._fact()

    def report(self) -> InstanceReport:
        """Its part of the worker's report."""
        stats = self._heard.stats
        return InstanceReport(
            variant=self.variant.variant,
            instance=self.me.instance,
            pid=self.child.pid if self.child else 0,
            state=self.state,
            query_ms=self.query_ms,
            slowdown=self._observed.slowdown,
            cost_ratio=self._spending.ratio,
            memory_bytes=self.child.resident_bytes if self.child else 0,
            positions=self.backlog().positions,
            age_ms=self._heard.age_ms(self._now()),
            **(stats.counters.model_dump() if stats else {}),
        )

    @property
    def query_ms(self) -> float:
        """Observed time a query, or the profile's while nothing is observed."""
        return self._observed.query_ms or self.profile.whole[0].p50_ms

    def backlog(self) -> BacklogEntry:
        """How far it is."""
        stats = self._heard.stats
        return BacklogEntry(
            variant=self.variant.variant,
            instance=self.me.instance,
            query_ms=round(self.query_ms, 4),
            positions=stats.positions if stats else (),
            age_ms=self._heard.age_ms(self._now()),
        )

    def end(self) -> None:
        """Ends the child now; nothing is written."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def crash(self, why: str) -> None:
        """Something went wrong while it was looked after: that is its own death, and it is started again."""
        self.end()
        self._crash("instance", why, released=False)

    def stop(self) -> None:
        """Ends it now, whatever it does, and says in its fact what became of its partitions."""
        self.end()
        self.ownership.lose(None)
        self.state = "stopped"
        self._fact()

    # ---- the child

    def _begin(self) -> None:
        """A new process; nothing of the one before counts for it."""
        now_s = self._now()
        self._heard = Heard(heard_s=now_s, looked_s=now_s)
        self._observed, self._batches, self._spending = Observed(), 0, Spending.of(self.variant, self.profile, now_s)
        self._slot_s, self._slot_arrived = now_s, 0
        self._release_by_s: dict[int, float] = {}
        self._last_words: Failed | None = None
        self._ready_s: float | None = None
        self._started_s = self._next_keep_s = now_s
        try:
            self.child = self._launch()
        except Exception as error:
            log.exception("an instance can't be started", extra={"variant": self.variant.variant})
            self._crash("outside", f"can't be started: {error}", released=True)

    def _listen(self, child: Child) -> None:
        for message in child.heard():
            self._hear(message)
        status = child.status()
        if status is None:
            return
        for message in child.heard():
            self._hear(message)
        child.reap()
        self.child = None
        if self.draining and status == 0:
            self.ownership.lose(None)
            self._fact()
        elif self._last_words is not None and self._last_words.retryable:
            self._crash("outside", self._last_words.reason, released=True)
        else:
            why = self._last_words.reason if self._last_words else ending(status)
            self._crash("record" if self._heard.alone else "instance", why, released=False)

    def _hear(self, message: FromChild) -> None:
        heard, now_s = self._heard, self._now()
        heard.heard_s = now_s
        match message:
            case Ready():
                self._ready(now_s)
            case BatchBegan():
                heard.began(message, now_s)
            case BatchEnded():
                heard.ended()
            case Stats():
                self._take_stats(message, now_s)
            case Released():
                self._release_by_s.pop(message.partition, None)
                self.ownership.release(message.partition)
                self._fact()
            case Refused():
                self._release_by_s.pop(message.partition, None)
                self.ownership.refuse(message.partition)
                self._fact()
            case Failed():
                self._last_words = message
            case Taken() | Alive() | Stopped():
                pass
            case Measured() | Finished():
                log.warning("an instance spoke as a build", extra={"said": message.said})
            case _ as never:
                assert_never(never)

    def _ready(self, now_s: float) -> None:
        self._crashes, self._ready_s = self._crashes.ready(), now_s
        self.reason = ""
        self.state = "draining" if self.draining else "active"
        self._fact()

    def _take_stats(self, stats: Stats, now_s: float) -> None:
        before, self._heard.stats, self._heard.stats_s = self._heard.stats, stats, now_s
        if stats.counters.answered > (before.counters.answered if before else 0):
            self._crashes = self._crashes.answered()
        if (last := stats.last) is not None and stats.counters.batches != self._batches:
            self._batches = stats.counters.batches
            self._observed = self._observed.observe(last, path_ms=self._spending.path_ms(last.queries))

    def _crash(self, fault: Fault, why: str, *, released: bool) -> None:
        """The process is gone, and not as it was told to."""
        now_s = self._now()
        self.ownership.lose(None if released else dict(self._heard.furthest))
        self._release_by_s.clear()
        self._crashes = self._crashes.crash(fault, now_s)
        if self._ready_s is not None and now_s - self._ready_s > STEADY_S:
            self._backoff.clear()
        self._backoff.fail(now_s)
        log.warning("an instance ended", extra={"variant": self.variant.variant, "fault": fault, "why": why})
        self.reason = why
        if self._crashes.failed:
            self.state = "failed"
        elif not self.draining:
            self.state = "starting"
        self._fact()

    def _maybe_start(self) -> None:
        if self.state == "starting" and not self.draining and self._backoff.over(self._now()):
            self._begin()

    def _watch(self, child: Child) -> None:
        """Kills what makes no progress: as dead what is stuck or does not load; as released what does not release."""
        now_s = self._now()
        self._heard.look(now_s)
        if self.state == "starting" or (self.draining and self._ready_s is None):
            limit_s = max(LOAD_FLOOR_S, LOAD_FACTOR * self.profile.load_ms / 1000.0)
            if now_s > self._started_s + limit_s:
                self._kill(child, f"not loaded within {limit_s:g} s")
            elif self.draining and now_s > self._drain_by_s:
                self._kill_released(child)
            return
        if self._release_overdue(now_s):
            self._kill_released(child)
            return
        why = self._heard.stuck(now_s)
        if why is not None:
            self._kill(child, why)

    def _keep(self, child: Child) -> None:
        now_s = self._now()
        if now_s >= self._next_keep_s:
            self._next_keep_s = now_s + HEARTBEAT_S
            child.tell(Keep())

    def _release_overdue(self, now_s: float) -> bool:
        """A batch that runs has its own limit, but at the end of the whole instance."""
        if self.draining and now_s > self._drain_by_s:
            return True
        return self._heard.overdue_s is None and any(now_s > by_s for by_s in self._release_by_s.values())

    def _kill(self, child: Child, why: str) -> None:
        child.kill()
        self.child = None
        self._crash("record" if self._heard.alone else "instance", f"killed: {why}", released=False)

    def _kill_released(self, child: Child) -> None:
        """Killed by order: nobody's death."""
        child.kill()
        self.child = None
        self._release_by_s.clear()
        self.ownership.lose(None)
        if not self.draining:
            self.state = "starting"
        self._fact()

    # ---- its partitions

    def _own(self, child: Child, view: View, *, others: bool) -> None:
        ownership = self.ownership
        for partition in ownership.grants():
            death = ownership.death_before(view, partition)
            before = None if death is None else DeathBefore(worker=death.worker, furthest=death.furthest)
            child.tell(Take(partition=partition, death=before, others=others))
        for partition in ownership.surplus(view, draining=self.draining):
            child.tell(Release(partition=partition))
            self._release_by_s[partition] = self._now() + RELEASE_S
        changed = ownership.give_back()
        if not self.draining:
            changed = ownership.want(view, self._sequence + 1, others=others) or changed
        if changed or (ownership.taking and self._now() - self._fact_s >= AGAIN_S):
            self._fact()
        if self.draining and not ownership.holding:
            child.tell(Stop())

    def _fact(self) -> None:
        self._sequence += 1
        self._settled = None
        self._fact_s = self._now()
        ownership = self.ownership
        self._write(
            Instance(
                worker=self.me.worker,
                boot_id=self.me.boot_id,
                variant=self.variant.variant,
                instance=self.me.instance,
                state=self.state,
                taken=ownership.taken(),
                released=tuple(sorted(ownership.released)),
                died=dict(ownership.died),
                sequence=self._sequence,
                since_ms=int(self._now_ms()),
                reason=self.reason,
            )
        )
