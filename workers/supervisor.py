"""The supervisor of one machine: makes true what is placed on it, and is the only writer of its facts.

Each step:
 1. Follow the view. A newer boot id under our name ends this process; an older one after our writes is written over; our own
    verdict, or our record gone, stops all instances and brings us back with a new boot id.
 2. Start and stop instances and builds as they are placed, within cores and memory.
 3. Let every instance hear its child and keep its partitions.
 4. Report: backlogs every 0.1 s when changed, everything every 0.5 s.
"""

from __future__ import annotations

import logging
import time

import psutil
import uuid_utils

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import Reporter
from infaas.host.child import Child
from infaas.host.messages import Build, Serve
from infaas.schemas.catalogue import CORE_PRICE_PER_HOUR
from infaas.schemas.errors import Fenced
from infaas.schemas.metadata import Hardware, Instance, Owner, Variant, Worker
from infaas.schemas.names import check_name
from infaas.schemas.reports import Backlog, BacklogEntry, WorkerReport
from infaas.store.facts import FactWriter
from infaas.store.table import Change, Table
from infaas.store.view import View
from infaas.workers.admission import Reserved, admit
from infaas.workers.building import MEMORY_BYTES, MODULE, Building
from infaas.workers.running import Running
from infaas.workers.settings import WorkerSettings

log = logging.getLogger(__name__)
INSTANCE_MODULE = "infaas.workers.serve"
REPORT_EVERY_S = 0.5
BACKLOG_EVERY_S = 0.1
IDLE_S = 0.01
STOP_S = 8.0


class Supervisor:
    """One worker; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this worker.
    """

    def __init__(self, *, settings: BusSettings, own: WorkerSettings) -> None:
        self.name = check_name("worker", own.name)
        self._settings, self._own = settings, own
        self._cores, self._memory = own.core_numbers(), own.memory()
        self._outbox = Outbox(settings, client_id=self.name)
        self._table = Table(settings, client_id=self.name, before=self._before, before_prefix=f"instance/{self.name}/")
        self._reporter = Reporter(self._outbox, settings)
        self._running: dict[tuple[str, int], Running] = {}
        self._builds: dict[str, Building] = {}
        self._next_report = self._next_backlog = 0.0
        self._said: tuple[BacklogEntry, ...] = ()
        self._sequence = 0
        self._cpu_s, self._cpu_at = 0.0, time.monotonic()
        self._table.open()
        self._boot()

    @property
    def boot_id(self) -> str:
        """Of this life."""
        return self._facts.boot_id

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            Fenced: a newer supervisor has our name; this process ends.
        """
        for change in self._table.poll(IDLE_S):
            self._notice(change)
        self._outbox.poll(0)
        view = self._table.view()
        self._check_life(view)
        self._place(view)
        for (variant, _), one in list(self._running.items()):
            one.step(view, others=self._others(view, variant))
        for build in self._builds.values():
            build.step()
        self._report()

    def close(self) -> None:
        """Drains the instances under one deadline, and says that we have stopped."""
        for build in self._builds.values():
            build.end()
        for one in self._running.values():
            one.drain()
        deadline = time.monotonic() + STOP_S
        while self._running and time.monotonic() < deadline:
            self._table.poll(IDLE_S)
            self._outbox.poll(0)
            for key, one in list(self._running.items()):
                one.step(self._table.view(), others=False)
                if one.gone:
                    del self._running[key]
                    self._facts.delete(self._key(*key))
        for one in self._running.values():
            one.end()
        self._facts.write(self._record.model_copy(update={"state": "stopped"}))
        self._outbox.close()
        self._table.close()

    def abandon(self) -> None:
        """Ends all children and writes nothing: somebody else is us now."""
        for one in self._children():
            one.end()

    # ---- our life

    def _boot(self) -> None:
        self._facts = FactWriter(self._outbox, self._settings, str(uuid_utils.uuid7()))
        own, cores = self._own, len(self._cores)
        price = own.price_per_hour if own.price_per_hour is not None else CORE_PRICE_PER_HOUR * cores
        self._record = Worker(
            worker=self.name,
            boot_id=self.boot_id,
            machine_type=own.machine_type,
            hardware=Hardware(platforms=("cpu",), cores=cores, memory_bytes=self._memory),
            price_per_hour=price,
        )
        self._facts.write(self._record)
        self._born_seen = False

    def _notice(self, change: Change) -> None:
        """Rules for records under our keys (spec `boot`)."""
        if change.key == f"worker/{self.name}":
            if change.writer == self.boot_id:
                self._born_seen = True
            elif change.writer > self.boot_id:
                raise Fenced(f"another supervisor called {self.name} has started: {change.writer}")
            elif self._born_seen:
                self._facts.write(self._record)
        elif change.ignored and change.key.startswith(f"instance/{self.name}/"):
            for key, one in self._running.items():
                if change.key == self._key(*key):
                    one.rewrite()

    def _check_life(self, view: View) -> None:
        verdict = view.verdicts.get(self.name)
        pronounced = verdict is not None and verdict.boot_id == self.boot_id
        if pronounced or (self._born_seen and self.name not in view.workers):
            log.warning("back with a new boot id", extra={"worker": self.name, "verdict": pronounced})
            self.abandon()
            self._running.clear()
            self._builds.clear()
            self._boot()

    def _before(self, change: Change, before: View) -> None:
        fact = change.record
        if isinstance(fact, Instance) and fact.boot_id == self.boot_id:
            one = self._running.get((fact.variant, fact.instance))
            if one is not None:
                one.read_back(fact, before)

    # ---- what is placed here

    def _place(self, view: View) -> None:
        if not self._born_seen:
            return
        wanted, builds = self._wanted(view)
        for (variant, number), one in list(self._running.items()):
            if (variant, number) not in wanted or variant not in view.variants:
                one.drain()
            if one.gone or (one.draining and one.state == "failed"):
                one.end()
                del self._running[variant, number]
                self._facts.delete(self._key(variant, number))
        for variant, build in list(self._builds.items()):
            if variant not in builds or build.done:
                build.end()
                del self._builds[variant]
        for key in sorted(wanted - set(self._running)):
            self._start(view.variants[key[0]], key[1])
        for variant in sorted(builds - set(self._builds)):
            if variant not in view.built:
                self._build(view, view.variants[variant])

    def _wanted(self, view: View) -> tuple[set[tuple[str, int]], set[str]]:
        wanted, builds = set(), set()
        for (worker, variant), placement in view.placements.items():
            record = view.variants.get(variant)
            if worker != self.name or record is None:
                continue
            if placement.build:
                builds.add(variant)
            if record.profile is not None and record.artifact_digest is not None:
                wanted |= {(variant, n) for n in range(placement.instances)}
        return wanted, builds

    def _start(self, variant: Variant, number: int) -> None:
        assert variant.profile is not None
        cores = self._admit(variant.recipe.cores, variant.profile.peak_memory_bytes)
        if cores is None:
            return  # until something that drains has ended
        order = Serve(
            variant=variant,
            worker=self.name,
            instance=number,
            repository_url=self._own.repository_url,
            cache_dir=str(self._own.cache_dir),
        )
        self._running[variant.variant, number] = Running(
            variant=variant,
            me=Owner(worker=self.name, boot_id=self.boot_id, instance=number),
            launch=lambda: Child(module=INSTANCE_MODULE, cores=cores, order=order),
            cores=cores,
            write=self._facts.write,
            now_ms=self._outbox.clock.now_ms,
        )

    def _build(self, view: View, variant: Variant) -> None:
        cores = self._admit(variant.recipe.cores, MEMORY_BYTES)
        if cores is None:
            return
        done = {b: p.point for b, p in view.profiles.get(variant.variant, {}).items() if p.worker == self.name}
        order = Build(
            variant=variant,
            worker=self.name,
            done=done,
            repository_url=self._own.repository_url,
            cache_dir=str(self._own.cache_dir),
        )
        self._builds[variant.variant] = Building(
            variant=variant,
            worker=self.name,
            cores=cores,
            launch=lambda: Child(module=MODULE, cores=cores, order=order),
            write=self._facts.write,
        )

    def _admit(self, cores: int, memory_bytes: int) -> tuple[int, ...] | None:
        held = [Reserved(one.cores, one.memory_bytes) for one in self._children()]
        return admit(
            cores=self._cores, memory_bytes=self._memory, reserved=held, need_cores=cores, need_bytes=memory_bytes
        )

    def _others(self, view: View, variant: str) -> bool:
        """Whether another worker runs the variant, and could try what has killed here."""
        return any(
            i.worker != self.name and i.state not in ("failed", "stopped") for i in view.instances_of.get(variant, ())
        )

    def _children(self) -> list[Running | Building]:
        return [*self._running.values(), *self._builds.values()]

    def _key(self, variant: str, number: int) -> str:
        return f"instance/{self.name}/{variant}/{number}"

    # ---- reports

    def _report(self) -> None:
        now = time.monotonic()
        if now >= self._next_backlog:
            self._next_backlog = now + BACKLOG_EVERY_S
            entries = tuple(one.backlog() for one in self._running.values())
            said = tuple(entry.model_copy(update={"age_ms": 0.0}) for entry in entries)
            if said != self._said:
                self._said = said
                self._reporter.send(Backlog(worker=self.name, boot_id=self.boot_id, entries=entries), self.name)
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY_S
            for one in self._running.values():
                one.slot()
            self._sequence += 1
            reserved = sum(len(one.cores) for one in self._children())
            report = WorkerReport(
                worker=self.name,
                boot_id=self.boot_id,
                sequence=self._sequence,
                instances=tuple(one.report() for one in self._running.values()),
                cores_used=self._cores_used(now),
                builds=tuple(sorted(self._builds)),
                idle_cores=len(self._cores) - reserved,
            )
            self._reporter.send(report, self.name)

    def _cores_used(self, now: float) -> float:
        """Cores' worth of processor time the children used since the last report."""
        used = 0.0
        for child in [one.child for one in self._children()]:
            if child is not None:
                try:
                    used += sum(psutil.Process(child.pid).cpu_times()[:2])
                except psutil.Error:
                    continue
        rate = max(0.0, used - self._cpu_s) / max(1e-3, now - self._cpu_at)
        self._cpu_s, self._cpu_at = used, now
        return round(rate, 3)
