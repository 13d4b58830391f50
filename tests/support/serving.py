"""A cell that serves: supervisors and routers run step by step in the test's process, their instances are real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cell import VARIANT, Cell, doubling_model

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.schemas.metadata import Owner
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

ALL = (0, 1, 2, 3)
"""The partitions of the variant's topic."""


@contextmanager
def serving_cell(settings) -> Iterator[Cell]:
    """A cell whose variant is published and has its topics; what is in `others` is closed at the end, the newest first."""
    cell = Cell(settings)
    admin = Admin(settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    admin.close()
    cell.publish(Repository().put(doubling_model()))
    try:
        yield cell
    finally:
        for service in reversed(cell.others):
            service.close()
        cell.close()


def supervisor(cell, name="w1", cores=1) -> Supervisor:
    started = Supervisor(settings=cell.settings, own=WorkerSettings(name=name, cores=cores))
    cell.others.append(started)
    return started


def router(cell) -> Router:
    started = Router(settings=cell.settings, own=RouterSettings())
    cell.others.append(started)
    return started


def active(cell, worker, number=0) -> None:
    """Places an instance and waits until it is active."""
    cell.place(worker.name, number + 1)
    cell.until(lambda: state(cell, worker.name, number) == "active", "an active instance")


def assign(cell, worker, number=0) -> None:
    """All partitions to one instance."""
    cell.assign([Owner(worker=worker.name, boot_id=worker.boot_id, instance=number)] * len(ALL))


def held(cell, worker, number=0) -> None:
    cell.until(lambda: taken(cell, worker.name, number) == ALL, "its partitions")


def serve(cell, worker, number=0) -> None:
    """Places an instance and gives it all partitions."""
    active(cell, worker, number)
    assign(cell, worker, number)
    held(cell, worker, number)


def fact(cell, worker: str, number=0):
    """What stands in the metadata of an instance; None = nothing."""
    return cell.table.view().instances.get((worker, VARIANT, number))


def state(cell, worker: str, number=0) -> str | None:
    return None if (record := fact(cell, worker, number)) is None else record.state


def taken(cell, worker: str, number=0) -> tuple[int, ...]:
    return () if (record := fact(cell, worker, number)) is None else record.taken


def child(cell, worker: str, number=0):
    """An instance's process, as its supervisor has it."""
    (owner,) = [service for service in cell.others if isinstance(service, Supervisor) and service.name == worker]
    return owner._running[VARIANT, number].child
