"""Machines asked for, watched, and given back, in a lane of its own: a provider takes as long as it takes.

What a provider raises is no end of the scaler: it is a machine that did not stay, and the next try waits (`pauses`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from infaas.scaler import machines
from infaas.scaler.journal import Journal
from infaas.scaler.machines import AddMachine, DrainMachine, Park, StopMachine
from infaas.scaler.pauses import Pause, after_loss, after_stay
from infaas.scaler.provisioners.provisioner import Provisioner
from infaas.scaler.snapshot import Snapshot
from infaas.schemas.metadata import Machine
from infaas.store.lane import Lane
from infaas.store.leadership import Leadership
from infaas.store.view import View

log = logging.getLogger(__name__)
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
        now: monotonic seconds.
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
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._provisioner, self._type, self._at_most = provisioner, machine_type, at_most
        self._leadership, self._journal, self._view = leadership, journal, view
        self.lane = Lane("machines", deadline_s=PROVIDE_S)
        self._asked: dict[str, float] = {}
        self._came: dict[str, float] = {}
        self._quiet: dict[str, float] = {}
        self._pause = Pause()

    def step(self, snapshot: Snapshot, park: Park, unplaced: Mapping[str, int], now: float) -> None:
        """Starts what is due, if nothing is under way."""
        if self._provisioner is None or self.lane.busy:
            return
        park = self._watched(park, now)
        todo, self._quiet = machines.decide(snapshot, park, unplaced, at_most=self._at_most, quiet_since=self._quiet)
        for order in todo:
            match order:
                case AddMachine(reason):
                    self._add(reason, now)
                case DrainMachine(name, reason):
                    self._leadership.write(park.machines[name].model_copy(update={"wanted": "drained"}))
                    self._journal.write(name, "RemoveWorker", reason, self._view())
                case StopMachine(name, reason, lost):
                    self._stop(self._provisioner, park.machines[name], reason, lost=lost)
                    return
        starting = next((m for m in park.machines.values() if m.wanted == "running" and m.provider_id is None), None)
        if starting is not None and not self.lane.busy and self._pause.over(now):
            self._start(self._provisioner, starting)

    def _watched(self, park: Park, now: float) -> Park:
        """The machines, with what was seen of them."""
        live = self._view().live_workers
        for name in park.machines:
            self._asked.setdefault(name, now)
            if name in live:
                came_at_s = self._came.setdefault(name, now)
                self._pause = after_stay(self._pause, came_at_s=came_at_s, now_s=now)
        return replace(
            park, since=dict(self._asked), live=frozenset(live), came=frozenset(self._came), pause=self._pause
        )

    def _add(self, reason: str, now: float) -> None:
        """Writes the machine's record before the provider is called: its name is the token. Names are used again."""
        view = self._view()
        number = next(i for i in range(1, 10_000) if f"local-{i}" not in {*view.machines, *view.live_workers})
        machine = Machine(machine=f"local-{number}", machine_type=self._type, wanted="running")
        self._asked[machine.machine] = now
        self._came.pop(machine.machine, None)
        self._leadership.write(machine)
        self._journal.write(machine.machine, "AddWorker", reason, view)

    def _start(self, provisioner: Provisioner, machine: Machine) -> None:
        def start() -> str | Exception:
            try:
                return provisioner.start(machine)
            except Exception as error:  # noqa: BLE001 - a provider may raise anything
                return error

        def started(outcome: str | Exception) -> None:
            if isinstance(outcome, str):
                self._leadership.write(machine.model_copy(update={"provider_id": outcome}))
            else:
                log.warning("a machine can't be started", extra={"machine": machine.machine}, exc_info=outcome)
                self._lose(machine.machine, f"it can't be started: {outcome}", came_at_s=None)

        self.lane.start(f"start {machine.machine}", start, started, epoch=self._leadership.epoch)

    def _stop(self, provisioner: Provisioner, machine: Machine, reason: str, *, lost: bool) -> None:
        def stop() -> Exception | None:
            try:
                provisioner.stop(machine)
            except Exception as error:  # noqa: BLE001 - a provider may raise anything
                return error
            return None

        def stopped(error: Exception | None) -> None:
            if error is not None:  # its record stays, and so it is stopped again
                log.warning("a machine can't be stopped", extra={"machine": machine.machine}, exc_info=error)
                return
            self._leadership.delete(machine.key)
            self._journal.write(machine.machine, "StopMachine", reason, self._view())
            if lost and machine.provider_id is not None:  # one that could not be started was counted then
                self._lose(machine.machine, reason, came_at_s=self._came.get(machine.machine))
            self._asked.pop(machine.machine, None)
            self._came.pop(machine.machine, None)

        self.lane.start(f"stop {machine.machine}", stop, stopped, epoch=self._leadership.epoch)

    def _lose(self, machine: str, reason: str, *, came_at_s: float | None) -> None:
        """A machine did not stay; says for how long none is started."""
        now = self._now()
        self._pause = after_loss(self._pause, came_at_s=came_at_s, now_s=now)
        if self._pause.losses:
            wait_s = self._pause.until_s - now
            why = f"{machine}: {reason}; {self._pause.losses} in a row did not stay: the next start waits {wait_s:g} s"
            self._journal.write(self._type, "Pause", why, self._view(), losses=self._pause.losses, wait_s=wait_s)
