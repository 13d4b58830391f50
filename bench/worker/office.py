"""Registrar and scaler of a benchmark's own, so that it decides when what is placed, and where."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import Assignment, Instance, Owner, Ownership, Placement, Role, Variant
from infaas.store.leadership import Leadership
from infaas.store.table import Table
from infaas.store.view import View

WAIT_S = 30.0
LOOK_S = 0.001


class Office:
    """Leads as both, once whoever led before has resigned; `step` is called by all that wait.

    Args:
        settings: of the cell.
    """

    def __init__(self, settings: BusSettings) -> None:
        self._outbox, self._table = Outbox(settings, client_id="office"), Table(settings, client_id="office")
        self._table.open()
        roles: tuple[Role, ...] = ("registrar", "scaler")
        self._leads = {role: Leadership(settings, role=role, table=self._table, outbox=self._outbox) for role in roles}
        self.until(lambda: all(lead.is_leader for lead in self._leads.values()), "leadership")

    @property
    def view(self) -> View:
        """The picture now."""
        return self._table.view()

    def step(self, timeout: float = 0.0) -> None:
        """Follows, and ticks."""
        self._table.poll(timeout)
        self._outbox.poll(0)
        for lead in self._leads.values():
            lead.step()

    def until(self, true: Callable[[], bool], what: str, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Steps until it is so.

        Raises:
            InfaasError: it takes too long.
        """
        deadline = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > deadline:
                raise InfaasError(f"waited {WAIT_S:g} s for {what}")
            self.step(LOOK_S)
            meanwhile()

    def publish(self, variant: Variant) -> None:
        """Writes a variant."""
        self._leads["registrar"].write(variant)

    def place(self, worker: str, variant: str, instances: int) -> None:
        """Says how many instances a worker should run; none takes the placement away, as a scaler does."""
        record = Placement(worker=worker, variant=variant, instances=instances)
        if instances:
            self._leads["scaler"].write(record)
        else:
            self._leads["scaler"].delete(record.key)

    def assign(self, variant: str, owners: Sequence[Owner | None]) -> None:
        """Owners by partition; the one before is carried on, as a scaler does."""
        assignment = self.view.assignments.get(variant)
        partitions = []
        for partition, owner in enumerate(owners):
            old = assignment.partitions[partition] if assignment is not None else Ownership()
            partitions.append(old if old.owner == owner else Ownership(owner=owner, previous=old.owner or old.previous))
        self._leads["scaler"].write(Assignment(variant=variant, partitions=tuple(partitions)))

    def instance(self, worker: str, variant: str, number: int) -> Instance | None:
        """What an instance's supervisor says of it."""
        return self.view.instances.get((worker, variant, number))

    def owner(self, worker: str, number: int) -> Owner:
        """An instance of the worker's life now."""
        return Owner(worker=worker, boot_id=self.view.workers[worker].boot_id, instance=number)

    def close(self) -> None:
        """Resigns."""
        for lead in self._leads.values():
            lead.resign()
        self._outbox.close()
        self._table.close()
