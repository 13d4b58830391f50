"""The scaler: one leader by claim, any number of standbys.

Each step:
 1. Follow metadata and telemetry; claim, tick, repair or step down.
Each second while leading, and at once when a variant is wanted or an instance changes:
 2. Read what waits in the work topics.
 3. Pronounce workers dead that are silent.
 4. Decide the fleet (pure), place it (pure), place builds, write what differs.
 5. Give every partition of what runs an owner; grow a topic that has fewer partitions than owners.
 6. Return work that nobody can run; delete the topics of what is retired and empty.
 7. Machines, usage, retention.
Everything it knows is in metadata, telemetry and Kafka's offsets: it may be killed at any moment.
"""

from __future__ import annotations

import logging
import time

from infaas.bus.admin import Admin
from infaas.bus.backlog import Backlogs, read_backlogs
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import TelemetryReader
from infaas.scaler import greedy, machines
from infaas.scaler.building import place_builds
from infaas.scaler.fold import Fold, ownerless, owners_of
from infaas.scaler.partitions import assign
from infaas.scaler.placement import Plan, place
from infaas.scaler.provisioners.local import LocalProvisioner
from infaas.scaler.provisioners.provisioner import Provisioner
from infaas.scaler.retiring import Retiring, passed
from infaas.scaler.returning import Returns
from infaas.scaler.settings import ScalerSettings
from infaas.scaler.snapshot import Snapshot
from infaas.scaler.usage import machine_seconds
from infaas.schemas import decisions
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import Assignment, Instance, Machine, Placement, Verdict, Worker
from infaas.schemas.topics import DECISIONS, ROUTER_GROUP, USAGE
from infaas.store.leadership import Leadership
from infaas.store.table import Table
from infaas.store.view import View

log = logging.getLogger(__name__)
EVERY_S = 1.0
URGENT_S = 0.1
IDLE_S = 0.02
UNPLACEABLE_S = 2.0
STUCK_S = 1.0
RETAIN_S = 60.0


class Scaler:
    """One candidate; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this scaler.
    """

    def __init__(self, *, settings: BusSettings, own: ScalerSettings) -> None:
        self._names, self._own = settings.names, own
        self._outbox = Outbox(settings, client_id=own.name)
        self._table = Table(settings, client_id=own.name)
        self._telemetry = TelemetryReader(settings, client_id=own.name)
        self._admin = Admin(settings, client_id=own.name)
        self.leadership = Leadership(settings, role="scaler", table=self._table, outbox=self._outbox)
        self._returns = Returns(settings, admin=self._admin, outbox=self._outbox)
        self._provisioner: Provisioner | None = (
            LocalProvisioner(cores=own.machine_cores, memory_bytes=own.machine_memory_bytes)
            if own.provisioner == "local"
            else None
        )
        self._best = _best_fleet(own.policy)
        self._next_tick = self._next_retain = self._last_usage = 0.0
        self._urgent = False
        self._led = False
        self._fresh()
        self._table.open()

    def _fresh(self) -> None:
        """What a leader knows beyond topics: nothing that matters, so a new one begins with nothing."""
        self._fold = Fold(silence_s=self._own.silence_s)
        self._memory = greedy.Memory()
        self._retiring = Retiring()
        self._unplaceable: dict[str, float] = {}
        self._stuck: dict[tuple[str, int], float] = {}
        self._quiet: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal: the process has to start anew.
        """
        for change in self._table.poll(IDLE_S):
            self._urgent |= isinstance(change.record, Instance | Worker) or change.record is None
        self._outbox.poll(0)
        now = time.monotonic()
        for report, at_ms in self._telemetry.poll(0):
            self.leadership.observe(report)
            self._urgent |= self._fold.take(report, at_ms / 1000.0, now, epoch=self.leadership.epoch)
        self.leadership.step()
        if not self.leadership.is_leader:
            self._led = False
            return
        if not self._led:
            self._led = True
            self._fold.liveness.took_over()
            self._last_usage = now
        if now >= self._next_tick or (self._urgent and now >= self._next_tick - EVERY_S + URGENT_S):
            self._next_tick, self._urgent = now + EVERY_S, False
            try:
                self._tick(now)
            except InfaasError as error:
                if not error.retryable:
                    raise
                log.warning("a tick is given up", extra={"error": str(error)})

    def close(self) -> None:
        """Resigns, so that a standby need not wait."""
        self.leadership.resign()
        self._outbox.close()
        self._table.close()
        self._telemetry.close()
        self._returns.close()
        self._admin.close()

    # ---- one decision

    def _tick(self, now: float) -> None:
        view = self._table.view()
        backlogs = read_backlogs(self._admin, self._names, view.variants)
        self._verdicts(view)
        snapshot = self._fold.snapshot(view, backlogs, now)
        target, self._memory = greedy.decide(snapshot, self._memory, idle_s=self._own.idle_s, best=self._best)
        plan = place(snapshot, target.fleet, target.needed)
        self._tell(view, snapshot, target, plan)
        builds, waiting = place_builds(
            snapshot, view.variants, view.built, view.placements, plan.placed, at_most=self._own.builds
        )
        self._write_placements(view, plan, builds)
        self._assign(view, plan, backlogs, now)
        self._return(view, plan, backlogs, now)
        self._retire(view, backlogs)
        self._machines(view, snapshot, plan, waiting, now)
        self._account(view, snapshot, backlogs, now)
        self.leadership.headroom = {"cell": round(target.headroom, 3)} if snapshot.classes else {}
        self.leadership.cost_per_hour = round(snapshot.cost(snapshot.fleet), 6)

    def _verdicts(self, view: View) -> None:
        alive = {name: w.boot_id for name, w in view.live_workers.items()}
        for name in self._fold.liveness.dead(alive):
            reason = f"nothing heard for more than {self._own.silence_s:g} s"
            self.leadership.write(Verdict(worker=name, boot_id=alive[name], reason=reason))
            self._decided(name, "Verdict", reason, view)

    def _write_placements(self, view: View, plan: Plan, builds: frozenset[tuple[str, str]]) -> None:
        wanted = {
            where: Placement(
                worker=where[0], variant=where[1], instances=plan.placed.get(where, 0), build=where in builds
            )
            for where in {*plan.placed, *builds}
        }
        for where, record in wanted.items():
            if view.placements.get(where) != record:
                self.leadership.write(record)
        for where, old in view.placements.items():
            if where not in wanted:
                self.leadership.delete(old.key)

    # ---- partitions

    def _assign(self, view: View, plan: Plan, backlogs: Backlogs, now: float) -> None:
        stuck = self._stuck_partitions(view, now)
        for variant in {v for _, v in plan.placed} | set(view.assignments):
            partitions = backlogs.partitions.get(variant, 0)
            if not partitions:
                continue
            owners = owners_of(view, variant, plan.placed.items())
            if len(owners) > partitions:
                partitions = 1 << (len(owners) - 1).bit_length()
                self._admin.grow(variant, partitions)
                self._decided(variant, "Grow", f"{len(owners)} instances", view)
            before = view.assignments.get(variant)
            if before is None and not owners:
                continue
            after = assign(
                before.partitions if before else (), partitions, owners, stuck=stuck.get(variant, frozenset())
            )
            if before is None or before.partitions != after:
                self.leadership.write(Assignment(variant=variant, partitions=after))

    def _stuck_partitions(self, view: View, now: float) -> dict[str, frozenset[int]]:
        """Partitions that their owner has let go of itself: it died of a record there, and another worker has to try."""
        seen: dict[tuple[str, int], float] = {}
        for variant, assignment in view.assignments.items():
            for p, one in enumerate(assignment.partitions):
                owner = one.owner
                if owner is None or view.void(owner):
                    continue
                fact = view.instances.get((owner.worker, variant, owner.instance))
                if fact is not None and p in fact.released and p not in fact.taken and fact.state != "starting":
                    seen[variant, p] = self._stuck.get((variant, p), now)
        self._stuck = seen
        out: dict[str, set[int]] = {}
        for (variant, p), since in seen.items():
            if now - since >= STUCK_S:
                out.setdefault(variant, set()).add(p)
        return {variant: frozenset(ps) for variant, ps in out.items()}

    def _return(self, view: View, plan: Plan, backlogs: Backlogs, now: float) -> None:
        placed = {v for _, v in plan.placed}
        since = self._unplaceable
        self._unplaceable = {
            v: since.get(v, now) for v in backlogs.by_variant if v not in placed and ownerless(view, backlogs, v)
        }
        for variant, begun in self._unplaceable.items():
            if now - begun < UNPLACEABLE_S and variant in view.variants and view.variants[variant].state != "retired":
                continue
            waiting = backlogs.of(variant)
            count = sum(self._returns.give_back(variant, waiting[at]) for at in ownerless(view, backlogs, variant))
            self._decided(variant, "Return", "no worker can run it", view, records=count)

    def _retire(self, view: View, backlogs: Backlogs) -> None:
        retired = self._retiring.update(view)
        there = [v for v in retired if backlogs.of(v)]
        if not there:
            return
        members = self._admin.group_members(self._names.group(ROUTER_GROUP))
        for variant in there:
            if not passed(retired[variant], members, self._fold.routers):
                continue
            if view.instances_of.get(variant) or any(w[1] == variant for w in view.placements):
                continue
            # Asked again, for what was sent between the last answer and the routers' word that no more comes.
            if read_backlogs(self._admin, self._names, [variant]).count(variant):
                continue
            self._admin.delete_variant_topics(variant)
            if variant in view.assignments:
                self.leadership.delete(view.assignments[variant].key)
            self._decided(variant, "Retire", "no router can send to it any more, and nothing waits", view)

    # ---- machines and the bill

    def _machines(self, view: View, snapshot: Snapshot, plan: Plan, waiting: int, now: float) -> None:
        if self._provisioner is None:
            return
        park = self._fold.park(view, self._asked, waiting)
        for name, machine in park.machines.items():
            self._asked.setdefault(name, now)
            if machine.wanted == "running" and machine.provider_id is None:
                self._start(machine)
        todo, self._quiet = machines.decide(
            snapshot, park, plan.unplaced, at_most=self._own.max_machines, quiet_since=self._quiet
        )
        for one in todo:
            match one:
                case machines.AddMachine(reason):
                    number = next(i for i in range(1, 10_000) if f"local-{i}" not in {*view.machines, *view.workers})
                    machine = Machine(
                        machine=f"local-{number}", machine_type=f"local-{self._own.machine_cores}", wanted="running"
                    )
                    self._asked[machine.machine] = now
                    self.leadership.write(machine)  # before the provider is called: its name is the token
                    self._decided(machine.machine, "AddWorker", reason, view)
                case machines.DrainMachine(name, reason):
                    self.leadership.write(park.machines[name].model_copy(update={"wanted": "drained"}))
                    self._decided(name, "RemoveWorker", reason, view)
                case machines.StopMachine(name):
                    self._provisioner.stop(park.machines[name])
                    self._asked.pop(name, None)
                    self.leadership.delete(park.machines[name].key)

    def _start(self, machine: Machine) -> None:
        assert self._provisioner is not None
        provider_id = self._provisioner.start(machine)
        self.leadership.write(machine.model_copy(update={"provider_id": provider_id}))

    def _account(self, view: View, snapshot: Snapshot, backlogs: Backlogs, now: float) -> None:
        if now - self._last_usage >= self._own.usage_every_s:
            at_ms = int(self._outbox.clock.now_ms())
            for one in machine_seconds(view, snapshot, seconds=now - self._last_usage, at_ms=at_ms):
                self._outbox.send(self._names.of(USAGE), key=one.machine, value=decisions.encode(one))
            self._last_usage = now
        if now >= self._next_retain:
            self._next_retain = now + RETAIN_S
            done = {
                (w.topic, w.partition): w.begin
                for all_ in backlogs.by_variant.values()
                for w in all_
                if w.begin > w.low
            }
            self._admin.delete_below(done)

    # ---- what people see

    def _tell(self, view: View, snapshot: Snapshot, target: greedy.Target, plan: Plan) -> None:
        before = snapshot.placed
        for variant in {v for _, v in {**before, **plan.placed}}:
            was = {w: n for (w, v), n in before.items() if v == variant and n}
            now = {w: n for (w, v), n in plan.placed.items() if v == variant}
            if was == now:
                continue
            had, has = sum(was.values()), sum(now.values())
            if had == has:
                name = "Move"
            elif has > had:
                name = "Replicate" if had else "Load"
            else:
                name = "Downsize" if has else "Unload"
            reason = target.reasons.get(variant, "another takes its place")
            self._decided(variant, name, reason, view, before=was, after=now, headroom=target.headroom)

    def _decided(self, about: str, decision: str, reason: str, view: View, **inputs: object) -> None:
        log.info("decided", extra={"about": about, "decision": decision, "reason": reason, **inputs})
        record = DecisionRecord(
            by="scaler",
            about=about,
            decision=decision,
            reason=reason,
            inputs=dict(inputs),
            view_offset=view.offset,
            at_ms=int(self._outbox.clock.now_ms()),
        )
        self._outbox.send(self._names.of(DECISIONS), key=about, value=decisions.encode(record))


def _best_fleet(policy: str) -> greedy.BestFleet:
    """By name; SciPy is imported only where its solver is asked for."""
    if policy == "greedy":
        return greedy.best_fleet
    from infaas.scaler.optimum import optimum

    return optimum
