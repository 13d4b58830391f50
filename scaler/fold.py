"""Folds reports and the view into the snapshot that policies see."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from infaas.bus.backlog import Backlogs
from infaas.policy.build import build_bytes
from infaas.scaler.building import can_hold
from infaas.scaler.costs import Costs, corrected
from infaas.scaler.demand import Demand
from infaas.scaler.liveness import Liveness
from infaas.scaler.machines import Park
from infaas.scaler.snapshot import Room, Snapshot
from infaas.schemas.metadata import SERVING, Instance, Owner
from infaas.schemas.reports import AnyReport, Backlog, RouterReport, Tick, VariantWanted, WorkerReport
from infaas.schemas.servable import Servable
from infaas.store.view import View

WANT_S = 3.0
INTERFERED_S = 5.0
AVOID_S = 60.0
MOVE_AGAIN_S = 120.0
USED_S = 10.0
SILENT_S = 60.0


class Fold:
    """What was reported; all times in seconds, of the topic (`at_s`) or monotonic (`now_s`)."""

    def __init__(self, *, silence_s: float) -> None:
        self.demand = Demand()
        self.liveness = Liveness(silence_s)
        self._routers: dict[str, tuple[float, RouterReport]] = {}
        self.telemetry_s = self._next_forget_s = 0.0
        self._wanted: dict[str, float] = {}
        self._avoid: dict[tuple[str, str], float] = {}
        self._interfered: dict[str, tuple[str, float]] = {}
        self._used: dict[str, deque[tuple[float, float]]] = {}
        self._costs = Costs()

    def take(self, report: AnyReport, at_s: float, now_s: float, *, epoch: int) -> bool:
        """Takes in one report; True if something has to be done at once."""
        self.telemetry_s = max(self.telemetry_s, at_s)
        if self.telemetry_s >= self._next_forget_s:
            self._forget(now_s)
        match report:
            case WorkerReport():
                self.liveness.hear(report.boot_id, at_s)
                used = self._used.setdefault(report.worker, deque())
                used.append((at_s, report.cores_used))
                while used[0][0] < at_s - USED_S:
                    used.popleft()
                self._costs.take(report, at_s)
            case Backlog():
                self.liveness.hear(report.boot_id, at_s)
            case RouterReport():
                self.demand.report(report, at_s)
                self._routers[report.member_id] = at_s, report
            case VariantWanted():
                news = self._wanted.get(report.variant, 0.0) < now_s - WANT_S
                self._wanted[report.variant] = now_s
                return news
            case Tick():
                if report.role == "scaler" and report.epoch == epoch:
                    self.liveness.tick(at_s)
        return False

    def _forget(self, now_s: float) -> None:
        """Those of whom nothing was heard for long, also while another scaler leads: each life has an id of its own, and some a name."""
        self._next_forget_s = self.telemetry_s + SILENT_S
        since_s = self.telemetry_s - SILENT_S
        self._routers = {member: heard for member, heard in self._routers.items() if heard[0] >= since_s}
        self._used = {worker: used for worker, used in self._used.items() if used[-1][0] >= since_s}
        self._wanted = {variant: at_s for variant, at_s in self._wanted.items() if now_s - at_s < WANT_S}
        self._interfered = {v: moved for v, moved in self._interfered.items() if now_s - moved[1] <= MOVE_AGAIN_S}
        self.demand.forget(self.telemetry_s)
        self.liveness.forget(since_s)

    def routers(self) -> dict[str, RouterReport]:
        """Newest report of each member of the router group that is heard, by member id."""
        since_s = self.telemetry_s - SILENT_S
        return {member: report for member, (at_s, report) in self._routers.items() if at_s >= since_s}

    def snapshot(self, view: View, backlogs: Backlogs, now_s: float) -> Snapshot:
        """The picture now."""
        costs = self._costs.ratios(self.telemetry_s)
        variants = {
            n: corrected(s, costs.get(n, 1.0))
            for n, v in view.variants.items()
            if (s := Servable.of(v)) and n in backlogs.partitions
        }
        rooms = {
            name: Room(name, w.hardware.platforms, w.hardware.cores, w.hardware.memory_bytes, w.price_per_hour)
            for name, w in view.live_workers.items()
            if w.state == "running" and not self._leaving(view, name)
        }
        placed = {
            where: p.instances for where, p in view.placements.items() if p.instances and where[0] in view.live_workers
        }
        active: dict[str, int] = {}
        for instance in view.instances.values():
            if instance.state in SERVING:
                active[instance.variant] = active.get(instance.variant, 0) + 1
        builds: dict[str, tuple[int, int]] = {}
        for (worker, variant), placement in view.placements.items():
            room, record = rooms.get(worker), view.variants.get(variant)
            if placement.build and record and room and can_hold(record.recipe, room):
                cores, memory = builds.get(worker, (0, 0))
                builds[worker] = cores + record.recipe.cores, memory + build_bytes(room.memory_bytes)
        return Snapshot(
            now_s=now_s,
            classes=self.demand.classes(self.telemetry_s),
            variants=variants,
            rooms=rooms,
            placed=placed,
            active=active,
            wanted=self._wants(view, backlogs, now_s) & frozenset(variants),
            avoid=self._avoided(view, now_s),
            failed=_failed(view),
            builds=builds,
            busy=frozenset(v for v in backlogs.by_variant if backlogs.count(v)),
        )

    def park(self, view: View, *, builds_waiting: int, builds_starved: tuple[str, ...] = ()) -> Park:
        """The machines now, and how many builds find no room; of these the ones that more machines would help."""
        states: dict[str, list[Instance]] = {}
        for instance in view.instances.values():
            states.setdefault(instance.variant, []).append(instance)
        used = {}
        for name, worker in view.live_workers.items():
            seen = self._used.get(name)
            if seen and seen[-1][0] - seen[0][0] > USED_S * 0.8:
                used[name] = sum(cores for _, cores in seen) / len(seen) / worker.hardware.cores
        return Park(
            machines={n: m for n, m in view.machines.items() if m.wanted != "stopped"},
            used=used,
            overloaded={i.worker for i in view.instances.values() if i.state == "overloaded"},
            interfered_everywhere={
                v for v, instances in states.items() if all(i.state == "interfered" for i in instances)
            },
            builds_waiting=builds_waiting,
            builds_starved=builds_starved,
        )

    def _leaving(self, view: View, worker: str) -> bool:
        machine = view.machines.get(worker)
        return machine is not None and machine.wanted != "running"

    def _wants(self, view: View, backlogs: Backlogs, now_s: float) -> frozenset[str]:
        self._wanted = {v: at for v, at in self._wanted.items() if now_s - at < WANT_S}
        out = set(self._wanted)
        for variant in backlogs.by_variant:
            if ownerless(view, backlogs, variant):
                out.add(variant)
        return frozenset(out)

    def _avoided(self, view: View, now_s: float) -> frozenset[tuple[str, str]]:
        now_ms = self.telemetry_s * 1000.0
        for instance in view.instances.values():
            if instance.state == "failed":
                self._avoid[instance.worker, instance.variant] = now_s + AVOID_S
            elif instance.state == "interfered" and now_ms - instance.since_ms > INTERFERED_S * 1000.0:
                self._interfere(instance, now_s)
        self._avoid = {where: until for where, until in self._avoid.items() if until > now_s}
        return frozenset(self._avoid)

    def _interfere(self, instance: Instance, now_s: float) -> None:
        """It moves; but a variant that was interfered elsewhere not long ago would not gain by moving again."""
        worker, since = self._interfered.get(instance.variant, (instance.worker, -math.inf))
        if worker == instance.worker or now_s - since > MOVE_AGAIN_S:
            self._interfered[instance.variant] = instance.worker, now_s
            self._avoid[instance.worker, instance.variant] = now_s + AVOID_S


def _failed(view: View) -> frozenset[tuple[str, str]]:
    states: dict[tuple[str, str], set[str]] = {}
    for instance in view.instances.values():
        states.setdefault((instance.worker, instance.variant), set()).add(instance.state)
    return frozenset(where for where, states_of_place in states.items() if states_of_place == {"failed"})


def ownerless(view: View, backlogs: Backlogs, variant: str) -> list[int]:
    """Indices into the variant's partitions where something waits and nobody who counts owns it."""
    assignment = view.assignments.get(variant)
    out = []
    for at, waiting in enumerate(backlogs.of(variant)):
        owned: Owner | None = None
        if assignment is not None and waiting.partition < len(assignment.partitions):
            owned = assignment.partitions[waiting.partition].owner
        if waiting.count and view.owner_void(variant, owned):
            out.append(at)
    return out


def owners_of(view: View, variant: str, placed: Iterable[tuple[tuple[str, str], int]]) -> list[Owner]:
    """Instances that may own partitions: those that run, else those that start; of what stays placed alone."""
    counts = {worker: n for (worker, name), n in placed if name == variant}
    placed_instances = [
        i
        for i in view.instances_of.get(variant, ())
        if i.instance < counts.get(i.worker, 0) and i.worker in view.live_workers
    ]
    running = [i for i in placed_instances if i.state in SERVING] or [
        i for i in placed_instances if i.state == "starting"
    ]
    return [
        Owner(worker=i.worker, boot_id=i.boot_id, instance=i.instance)
        for i in sorted(running, key=lambda i: (i.worker, i.instance))
    ]
