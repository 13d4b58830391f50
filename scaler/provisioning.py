"""Machines asked for, watched, and given back, in a lane of its own: a provider takes as long as it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from infaas.scaler import machines
from infaas.scaler.journal import Journal
from infaas.scaler.machines import AddMachine, DrainMachine, Park, StopMachine
from infaas.scaler.provisioners.provisioner import Provisioner
from infaas.scaler.snapshot import Snapshot
from infaas.schemas.metadata import Machine
from infaas.store.lane import Lane
from infaas.store.leadership import Leadership
from infaas.store.view import View

PROVIDE_S = 120.0


class Provisioning:
    """Does what `machines.decide` says.

    Args:
        provisioner: starts and stops machines; None = nobody does.
        machine_type: of the machines it starts.
        at_most: machines at once.
        leadership: under whose epoch it is done.
        journal: for people.
        view: the picture now.
    """

    def __init__(
        self,
        provisioner: Provisioner | None,
        *,
        machine_type: str,
        at_most: int,
        leadership: Leadership,
        journal: Journal,
        view: Callable[[], View],
    ) -> None:
        self._provisioner, self._type, self._at_most = provisioner, machine_type, at_most
        self._leadership, self._journal, self._view = leadership, journal, view
        self.lane = Lane("machines", deadline_s=PROVIDE_S)
        self._asked: dict[str, float] = {}
        self._came: set[str] = set()
        self._quiet: dict[str, float] = {}

    def step(self, snapshot: Snapshot, park: Park, unplaced: Mapping[str, int], now: float) -> None:
        """Starts what is due, if nothing is under way."""
        if self._provisioner is None or self.lane.busy:
            return
        live = self._view().live_workers
        for name in park.machines:
            self._asked.setdefault(name, now)
            if name in live:
                self._came.add(name)
        park = replace(park, since=dict(self._asked), live=frozenset(live), came=frozenset(self._came))
        todo, self._quiet = machines.decide(snapshot, park, unplaced, at_most=self._at_most, quiet_since=self._quiet)
        for order in todo:
            match order:
                case AddMachine(reason):
                    self._add(reason, now)
                case DrainMachine(name, reason):
                    self._leadership.write(park.machines[name].model_copy(update={"wanted": "drained"}))
                    self._journal.write(name, "RemoveWorker", reason, self._view())
                case StopMachine(name, reason):
                    self._stop(self._provisioner, park.machines[name], reason)
                    return
        starting = next((m for m in park.machines.values() if m.wanted == "running" and m.provider_id is None), None)
        if starting is not None and not self.lane.busy:
            self._start(self._provisioner, starting)

    def _add(self, reason: str, now: float) -> None:
        """Writes the machine's record before the provider is called: its name is the token. Names are used again."""
        view = self._view()
        number = next(i for i in range(1, 10_000) if f"local-{i}" not in {*view.machines, *view.live_workers})
        machine = Machine(machine=f"local-{number}", machine_type=self._type, wanted="running")
        self._asked[machine.machine] = now
        self._came.discard(machine.machine)
        self._leadership.write(machine)
        self._journal.write(machine.machine, "AddWorker", reason, view)

    def _start(self, provisioner: Provisioner, machine: Machine) -> None:
        def started(provider_id: str) -> None:
            self._leadership.write(machine.model_copy(update={"provider_id": provider_id}))

        self.lane.start(
            f"start {machine.machine}", lambda: provisioner.start(machine), started, epoch=self._leadership.epoch
        )

    def _stop(self, provisioner: Provisioner, machine: Machine, reason: str) -> None:
        def stopped(_: None) -> None:
            self._asked.pop(machine.machine, None)
            self._came.discard(machine.machine)
            self._leadership.delete(machine.key)
            self._journal.write(machine.machine, "StopMachine", reason, self._view())

        self.lane.start(
            f"stop {machine.machine}", lambda: provisioner.stop(machine), stopped, epoch=self._leadership.epoch
        )
