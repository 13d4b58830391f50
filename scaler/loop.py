"""The scaler: one leader by claim, any number of standbys.

Each step:
 1. Follow metadata and telemetry; claim, tick, repair or step down.
 2. While leading: pronounce workers dead that are silent; apply what the lanes have finished.
Each second, and at once when a variant is wanted or an instance changes, on a view that has all our own writes:
 3. Ask what waits in the work topics (a task in a lane, as all that may take long).
 4. Decide the fleet, its places and the builds' places (pure; a task).
 5. Write the placements that differ; give every partition of what runs an owner.
 6. Return work that nobody can run; grow, empty and delete topics; start and stop machines (each in a lane of its own).
Everything it knows is in metadata, telemetry and Kafka's offsets: it may be killed at any moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial

from infaas.bus.admin import Admin
from infaas.bus.backlog import Backlogs, read_backlogs
from infaas.bus.outbox import Delivery
from infaas.bus.settings import BusSettings
from infaas.scaler import greedy
from infaas.scaler.assigning import Assigner
from infaas.scaler.building import Builds, can_hold, starved
from infaas.scaler.deciding import Decision, Question, decide
from infaas.scaler.fold import Fold
from infaas.scaler.journal import Journal
from infaas.scaler.placement import Place
from infaas.scaler.provisioners.local import LocalProvisioner
from infaas.scaler.provisioning import Provisioning
from infaas.scaler.returns import Returns
from infaas.scaler.settings import ScalerSettings
from infaas.scaler.snapshot import Room, Snapshot
from infaas.scaler.unplaceable import Unplaceable
from infaas.scaler.upkeep import Upkeep
from infaas.scaler.usage import machine_seconds
from infaas.schemas import decisions
from infaas.schemas.metadata import Instance, Placement, Verdict, Worker
from infaas.schemas.topics import USAGE
from infaas.store.candidate import Candidate, News
from infaas.store.lane import Lane
from infaas.store.leadership import Status
from infaas.store.view import View

log = logging.getLogger(__name__)
EVERY_S = 1.0
URGENT_S = 0.1
IDLE_S = 0.05
SOON_S = 0.01  # something is to be done, as soon as what we have written is read back
BUSY_S = 0.002  # a decision is under way: its result is waited for
VERDICTS_EVERY_S = 0.1
DECIDE_S = 60.0


class Scaler:
    """One candidate; `step` is one iteration, and waits for nobody.

    Args:
        settings: of the cell.
        own: of this scaler.
        best: finds the cheapest fleet; None = what the settings say.
    """

    def __init__(self, *, settings: BusSettings, own: ScalerSettings, best: greedy.BestFleet | None = None) -> None:
        self._names, self._own = settings.names, own
        self._best = best or _best_fleet(own.policy)
        self._candidate = Candidate(settings, role="scaler", name=own.name)
        self.leadership = self._candidate.leadership
        self._admin = Admin(settings, client_id=own.name)
        self._journal = Journal(self._candidate.outbox, settings)
        self._deciding = Lane("decisions", deadline_s=DECIDE_S)
        self._returns = Returns(settings, admin=self._admin, name=own.name)
        self._unplaceable = Unplaceable(self._returns, journal=self._journal, view=self._view)
        self._upkeep = Upkeep(
            self._admin,
            names=self._names,
            leadership=self.leadership,
            journal=self._journal,
            view=self._view,
        )
        self._provisioning = Provisioning(
            _provisioner(own),
            machine_type=f"local-{own.machine_cores}",
            at_most=own.max_machines,
            leadership=self.leadership,
            journal=self._journal,
            view=self._view,
        )
        self._lanes = (self._deciding, self._unplaceable.lane, self._upkeep.lane, self._provisioning.lane)
        self._fold = Fold(silence_s=own.silence_s)
        self._assigner = Assigner()
        self._memory = greedy.Memory()
        self._builds_waiting: Mapping[str, float] = {}
        self._said_to_wait: frozenset[str] = frozenset()
        self._pronounced: dict[str, str] = {}
        self._next_decision = self._next_verdicts = self._last_usage = 0.0
        self._urgent = self._led = False

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal: the process has to start again.
        """
        news = self._candidate.step(self._wait_s())
        now = time.monotonic()
        self._hear(news, now)
        if not self._candidate.leads:
            self._led = False
            return
        if not self._led:
            self._led, self._last_usage = True, now
            self._fold.liveness.took_over()
            self._pronounced.clear()
        self._pronounce(now)
        for lane in self._lanes:
            lane.step(self.leadership.epoch)
        self._ask(now)

    def _wait_s(self) -> float:
        """How long news are waited for: what is reported ends the wait, what is done elsewhere does not."""
        if self._deciding.busy:
            return BUSY_S
        return SOON_S if self._urgent or not self._candidate.settled else IDLE_S

    def close(self) -> None:
        """Resigns, so that a standby need not wait."""
        self.leadership.resign()
        ended = [lane.close() for lane in self._lanes]
        self._candidate.close()
        if all(ended):  # what a task still uses must not be closed beneath it
            self._returns.close()
            self._admin.close()

    def _view(self) -> View:
        return self._candidate.view

    def _hear(self, news: News, now: float) -> None:
        for change in news.changes:
            self._urgent |= isinstance(change.record, Instance | Worker) or change.record is None
        for report, at_ms in news.reports:
            self._urgent |= self._fold.take(report, at_ms / 1000.0, now, epoch=self.leadership.epoch)

    def _pronounce(self, now: float) -> None:
        if now < self._next_verdicts:
            return
        self._next_verdicts = now + VERDICTS_EVERY_S
        view = self._candidate.view
        alive = {name: w.boot_id for name, w in view.live_workers.items()}
        for name in self._fold.liveness.dead(alive):
            if self._pronounced.get(name) == alive[name]:
                continue  # written, and not read back yet
            self._pronounced[name] = alive[name]
            reason = f"nothing heard for more than {self._own.silence_s:g} s"
            verdict = Verdict(worker=name, boot_id=alive[name], reason=reason)
            self.leadership.write(verdict, partial(self._written, name))
            self._journal.write(name, "Verdict", reason, view)

    def _written(self, name: str, delivery: Delivery) -> None:
        """A verdict that is not confirmed is pronounced again."""
        if delivery.error is not None:
            self._pronounced.pop(name, None)

    # ---- one decision

    def _ask(self, now: float) -> None:
        due = now >= self._next_decision or (self._urgent and now >= self._next_decision - EVERY_S + URGENT_S)
        if not due or self._deciding.busy or not self._candidate.settled:
            return
        self._next_decision, self._urgent = now + EVERY_S, False
        variants = tuple(self._candidate.view.variants)
        self._deciding.start(
            "backlogs",
            lambda: read_backlogs(self._admin, self._names, variants),
            self._decide,
            epoch=self.leadership.epoch,
        )

    def _decide(self, backlogs: Backlogs) -> None:
        view = self._candidate.view
        question = Question(
            snapshot=self._fold.snapshot(view, backlogs, time.monotonic()),
            variants=view.variants,
            built=view.built,
            placements=view.placements,
            memory=self._memory,
            builds_waiting=self._builds_waiting,
        )
        work = partial(decide, question, idle_s=self._own.idle_s, builds_at_once=self._own.builds, best=self._best)
        self._deciding.start("decision", work, partial(self._apply, backlogs), epoch=self.leadership.epoch)

    def _apply(self, backlogs: Backlogs, decision: Decision) -> None:
        now, view, snapshot, placed = time.monotonic(), self._candidate.view, decision.snapshot, decision.plan.placed
        self._memory, self._builds_waiting = decision.memory, decision.builds.waiting
        self._journal.moves(view, snapshot, decision.target, placed)
        self._place(placed, decision.builds.places)
        owners = self._assigner.owners(view, placed, backlogs, now, without=self._unplaceable.under_way)
        for assignment in owners.assignments:
            self.leadership.write(assignment)
        self._unplaceable.step(placed, backlogs, now, epoch=self.leadership.epoch)
        self._upkeep.step(self._fold, backlogs, owners.growth, now)
        park = self._fold.park(
            view,
            builds_waiting=len(decision.builds.waiting),
            builds_starved=self._starved(view, decision.builds, snapshot.now_s),
        )
        self._provisioning.step(snapshot, park, decision.plan.unplaced, now)
        self._account(snapshot, now)
        headroom = {"cell": round(decision.target.headroom, 3)} if snapshot.classes else {}
        self.leadership.status = Status(headroom, round(snapshot.cost(snapshot.fleet), 6))

    def _place(self, placed: Mapping[Place, int], builds: frozenset[Place]) -> None:
        view = self._candidate.view
        wanted = {
            where: Placement(worker=where[0], variant=where[1], instances=placed.get(where, 0), build=where in builds)
            for where in {*placed, *builds}
        }
        for where, record in wanted.items():
            if view.placements.get(where) != record:
                self.leadership.write(record)
        for where, old in view.placements.items():
            if where not in wanted:
                self.leadership.delete(old.key)

    def _starved(self, view: View, builds: Builds, now_s: float) -> tuple[str, ...]:
        """Builds that have found no room for long, and that a machine could hold; says of each once that it waits."""
        waiting = [v for v in starved(builds, now_s) if v in view.variants]
        for variant in waiting:
            if variant not in self._said_to_wait:
                cores = view.variants[variant].recipe.cores
                reason = f"no worker has {cores} cores that the load does not need"
                self._journal.write(variant, "Wait", reason, view, since_s=now_s - builds.waiting[variant])
        self._said_to_wait = frozenset(waiting)
        machine = Room("machine", ("cpu",), self._own.machine_cores, self._own.machine_memory_bytes or 0)
        return tuple(v for v in waiting if can_hold(view.variants[v].recipe, machine))

    def _account(self, snapshot: Snapshot, now: float) -> None:
        if now - self._last_usage < self._own.usage_every_s:
            return
        outbox = self._candidate.outbox
        seconds, at_ms = now - self._last_usage, int(outbox.clock.now_ms())
        for usage in machine_seconds(self._candidate.view, snapshot, seconds=seconds, at_ms=at_ms):
            outbox.send(self._names.of(USAGE), key=usage.machine, value=decisions.encode(usage))
        self._last_usage = now


def _provisioner(own: ScalerSettings) -> LocalProvisioner | None:
    if own.provisioner == "none":
        return None
    return LocalProvisioner(cores=own.machine_cores, memory_bytes=own.machine_memory_bytes)


def _best_fleet(policy: str) -> greedy.BestFleet:
    """By name; SciPy is imported only where its solver is asked for."""
    if policy == "greedy":
        return greedy.best_fleet
    from infaas.scaler.optimum import optimum

    return optimum
