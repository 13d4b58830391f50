"""The supervisor of one machine: makes true what is placed on it, and is the only writer of its facts.

Each step:
 1. Follow the view. A newer boot id under our keys ends this process; an older one after our writes is written over; our own
    verdict, or our record gone, stops all instances and brings us back with a new boot id.
 2. Start and stop instances and builds as they are placed, within cores and memory, going by what has changed. What can't be started is tried again
    after a pause, and keeps nothing else from running.
 3. Let every instance hear its child and keep its partitions.
 4. Once a second, and after a write that failed: compare our keys in the view with what is so, and write what differs.
 5. Report: backlogs every 0.1 s when changed, everything every 0.5 s.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import Reporter
from infaas.host.backoff import Backoff
from infaas.host.child import Child
from infaas.host.deadlines import KILL_S, RELEASE_S, STOP_S, Deadline
from infaas.host.forkserver import ForkServer
from infaas.host.messages import Build, Serve
from infaas.schemas.catalogue import CORE_PRICE_PER_HOUR
from infaas.schemas.errors import Fenced, ProducerFatal
from infaas.schemas.metadata import Hardware, Instance, Owner, Variant, Worker, worker_of
from infaas.schemas.names import check_name
from infaas.store.boot import is_boot_id, next_boot_id
from infaas.store.facts import FactWriter
from infaas.store.table import Change, Table
from infaas.store.view import View
from infaas.workers.admission import Reserved, admit
from infaas.workers.building import MODULE, Building
from infaas.workers.placed import Placed
from infaas.workers.reporting import Reporting
from infaas.workers.running import Running
from infaas.workers.settings import WorkerSettings

log = logging.getLogger(__name__)
INSTANCE_MODULE = "infaas.workers.serve"
IDLE_S, QUIET_S = 0.01, 0.05
"""How often children are listened to: while something is going on, and while nothing is."""
LATELY_S = 0.2
COMPARE_EVERY_S = 1.0
FAILED_AGAIN_S = 0.1
Key = tuple[str, int | None]
"""A variant, and the number of the instance; None = its build."""


class Supervisor:
    """One worker; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this worker.
        server: makes instances as copies; None = they are processes from scratch.
    """

    def __init__(self, *, settings: BusSettings, own: WorkerSettings, server: ForkServer | None = None) -> None:
        self.name = check_name("worker", own.name)
        self._settings, self._own, self._server = settings, own, server
        self._cores, self._memory = own.core_numbers(), own.memory()
        self._outbox = Outbox(settings, client_id=self.name)
        self._table = Table(settings, client_id=self.name, before=self._before, before_prefix=f"instance/{self.name}/")
        self._reporting = Reporting(Reporter(self._outbox, settings), worker=self.name, cores=len(self._cores))
        self._running: dict[tuple[str, int], Running] = {}
        self._builds: dict[str, Building] = {}
        self._pauses: dict[Key, Backoff] = {}
        self._placed = Placed(self.name)
        self._waiting: set[Key] = set()
        """What should run and does not."""
        self._no_room: set[Key] = set()
        """Of that, what found no room, until somebody gives some back."""
        self._seen: View | None = None
        self._others: dict[str, bool] = {}
        self._readings = 0
        self._next_compare = 0.0
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
        for change in self._table.poll(self._wait_s()):
            self._notice(change)
        self._outbox.poll(0)
        if self._facts.failed:
            self._next_compare = min(self._next_compare, time.monotonic() + FAILED_AGAIN_S)
        view = self._table.view()
        self._follow(view)
        self._check_life(view)
        self._place(view)
        self._look_after(view)
        self._compare(view)
        self._reporting.step(self.boot_id, self._running, self._builds)

    def _wait_s(self) -> float:
        """How long metadata is waited for: children that have something to say, or that something is done with, are heard soon."""
        now_s = time.monotonic()
        busy = self._outbox.pending or self._builds or any(map(partial(_restless, now_s), self._running.values()))
        return IDLE_S if busy else QUIET_S

    def _follow(self, view: View) -> None:
        """What is known of the view is kept while it stays the same; all is looked at only where all of it was read anew."""
        if view is self._seen:
            return
        self._seen, self._others = view, {}
        if self._table.readings != self._readings:
            self._readings = self._table.readings
            self._placed.read(view)

    def _look_after(self, view: View) -> None:
        """What goes wrong with one of them is its own failure, never ours."""
        for (variant, number), instance in list(self._running.items()):
            try:
                instance.step(view, others=self._others_of(view, variant))
            except ProducerFatal:
                raise
            except Exception as error:
                log.exception("looking after an instance", extra={"variant": variant, "instance": number})
                instance.crash(f"{type(error).__name__}: {error}")
        for variant, build in self._builds.items():
            try:
                build.step()
            except ProducerFatal:
                raise
            except Exception as error:
                log.exception("looking after a build", extra={"variant": variant})
                build.fail(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Drains the instances, kills what does not end in time, says what became of each, and then that we have stopped.

        All of it under one deadline (host/deadlines.py), which whoever stops us waits for.
        """
        stop, release = Deadline(STOP_S), Deadline(RELEASE_S)
        for build in self._builds.values():
            build.end()
        for instance in self._running.values():
            instance.drain()
        while self._running and not release.over:
            self._table.poll(IDLE_S)
            self._outbox.poll(0)
            for key, instance in list(self._running.items()):
                instance.step(self._table.view(), others=False)
                if instance.gone:
                    self._forget(key, instance)
        for key, instance in list(self._running.items()):
            log.warning("killed: it did not end in time", extra={"instance": self._key(*key)})
            instance.stop()
            self._forget(key, instance)
        self._facts.write(self._record.model_copy(update={"state": "stopped"}))
        self._outbox.close(min(STOP_S - KILL_S, stop.left_s))
        self._table.close()

    def _forget(self, key: tuple[str, int], instance: Running) -> None:
        """It has ended. A fact that tells of a death stays: the next owner asks for it."""
        del self._running[key]
        self._no_room.clear()
        if instance.ownership.died:
            instance.stop()
        else:
            self._facts.delete(self._key(*key))

    def abandon(self) -> None:
        """Ends all children and writes nothing: somebody else is us now."""
        for child in self._children():
            child.end()

    # ---- our life

    def _boot(self) -> None:
        held = self._table.boots.get(self.name)
        self._facts = FactWriter(self._outbox, self._settings, next_boot_id([held] if held else []))
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
        if worker_of(change.key) == self.name:
            if change.writer == self.boot_id:
                self._born_seen |= change.key == self._record.key and not change.ignored
            elif is_boot_id(change.writer) and change.writer > self.boot_id:
                raise Fenced(f"another supervisor called {self.name} has started: {change.writer}")
            elif self._born_seen and change.ignored:
                self._next_compare = 0.0
                if change.key not in self._facts:
                    self._facts.delete(change.key)
        self._facts.notice(change)
        self._placed.notice(change)

    def _check_life(self, view: View) -> None:
        verdict = view.verdicts.get(self.name)
        pronounced = verdict is not None and verdict.boot_id == self.boot_id
        if pronounced or (self._born_seen and self.name not in view.workers):
            log.warning("back with a new boot id", extra={"worker": self.name, "verdict": pronounced})
            self.abandon()
            self._running.clear()
            self._builds.clear()
            self._waiting.clear()
            self._no_room.clear()
            self._placed.read(view)
            self._boot()

    def _before(self, change: Change, before: View) -> None:
        fact = change.record
        if isinstance(fact, Instance) and fact.boot_id == self.boot_id:
            instance = self._running.get((fact.variant, fact.instance))
            if instance is not None:
                instance.read_back(fact, before)

    def _compare(self, view: View) -> None:
        """Writes of our keys in the view what is not so; under keys of instances that don't run nothing should be."""
        now = time.monotonic()
        if now < self._next_compare:
            return
        self._next_compare = now + COMPARE_EVERY_S
        if self._born_seen:
            for worker, variant, number in view.all_instances:
                if worker == self.name and self._key(variant, number) not in self._facts:
                    self._facts.delete(self._key(variant, number))
        self._facts.step(view)

    # ---- what is placed here

    def _place(self, view: View) -> None:
        if not self._born_seen:
            return
        for variant in self._placed.take_changed():
            self._reconsider(view.variants.get(variant), variant)
        for (variant, number), instance in list(self._running.items()):
            if instance.gone or (instance.draining and instance.state == "failed"):
                instance.end()
                self._forget((variant, number), instance)
                self._placed.reconsider(variant)
        for variant, build in list(self._builds.items()):
            if build.done:
                self._end_build(variant)
                self._placed.reconsider(variant)
        self._start_what_waits(view)

    def _reconsider(self, record: Variant | None, variant: str) -> None:
        """Of one variant: ends what should not run, and remembers what should and does not."""
        numbers = self._placed.instances(record)
        for (name, number), instance in self._running.items():
            if name == variant and number not in numbers:
                instance.drain()
        if variant in self._builds and not self._placed.builds(record):
            self._end_build(variant)
        self._waiting = {key for key in self._waiting if key[0] != variant}
        self._waiting |= {(variant, number) for number in numbers if (variant, number) not in self._running}
        if self._placed.builds(record) and variant not in self._builds:
            self._waiting.add((variant, None))
        self._no_room -= {key for key in self._no_room if key[0] == variant}

    def _start_what_waits(self, view: View) -> None:
        """What found no room waits until somebody gives some back."""
        if len(self._waiting) == len(self._no_room):
            return
        for variant, number in sorted(self._waiting - self._no_room, key=_builds_last):
            record = view.variants[variant]
            if number is not None:
                self._try((variant, number), partial(self._start, record, number))
            elif variant in view.built or f"built/{variant}" in self._facts:
                self._waiting.discard((variant, None))  # until what was found is taken away, which is a change
            else:
                self._try((variant, None), partial(self._build, view, record))

    def _end_build(self, variant: str) -> None:
        self._builds.pop(variant).end()
        self._no_room.clear()

    def _try(self, key: Key, start: Callable[[], bool]) -> None:
        """Starts something; that it can't be started is its own affair."""
        pause, now = self._pauses.setdefault(key, Backoff()), time.monotonic()
        if not pause.over(now):
            return
        try:
            started = start()
        except ProducerFatal:
            raise
        except Exception:
            pause.fail(now)
            log.exception("what is placed here can't be started", extra={"variant": key[0], "instance": key[1]})
        else:
            del self._pauses[key]
            (self._waiting.discard if started else self._no_room.add)(key)

    def _start(self, variant: Variant, number: int) -> bool:
        """Starts an instance; False if there is no room."""
        assert variant.profile is not None
        cores = self._admit(variant.recipe.cores, variant.profile.peak_memory_bytes)
        if cores is None:
            return False
        limit_bytes = self._own.instance_limit_bytes(variant.profile.peak_memory_bytes, variant.recipe.platform)
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
            launch=lambda: Child(
                module=INSTANCE_MODULE, cores=cores, order=order, memory_bytes=limit_bytes, server=self._server
            ),
            cores=cores,
            write=self._facts.write,
            now_ms=self._outbox.clock.now_ms,
        )
        return True

    def _build(self, view: View, variant: Variant) -> bool:
        """Starts a build; False if there is no room."""
        memory_bytes = self._own.build_share()
        cores = self._admit(variant.recipe.cores, memory_bytes)
        if cores is None:
            return False
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
            memory_bytes=memory_bytes,
            launch=lambda: Child(module=MODULE, cores=cores, order=order, memory_bytes=self._own.build_limit()),
            write=self._facts.write,
        )
        return True

    def _admit(self, cores: int, memory_bytes: int) -> tuple[int, ...] | None:
        held = [Reserved(child.cores, child.memory_bytes) for child in self._children()]
        return admit(
            cores=self._cores, memory_bytes=self._memory, reserved=held, need_cores=cores, need_bytes=memory_bytes
        )

    def _others_of(self, view: View, variant: str) -> bool:
        """Whether another worker runs the variant, and could try what has killed here; found out once a view."""
        if variant not in self._others:
            self._others[variant] = any(
                i.worker != self.name and i.state not in ("failed", "stopped")
                for i in view.instances_of.get(variant, ())
            )
        return self._others[variant]

    def _children(self) -> list[Running | Building]:
        return [*self._running.values(), *self._builds.values()]

    def _key(self, variant: str, number: int) -> str:
        return f"instance/{self.name}/{variant}/{number}"


def _restless(now_s: float, instance: Running) -> bool:
    """Whether something is going on there."""
    return instance.changing or now_s - instance.news_s < LATELY_S


def _builds_last(key: Key) -> tuple[bool, str, int]:
    variant, number = key
    return number is None, variant, number or 0
