"""What a scaler has to say is said until it stands in the store: by facts and reports of workers that the test makes up."""

import time

import pytest
from cell import VARIANT, Cell
from refusing import refuse_once

from infaas.bus.admin import Admin
from infaas.bus.telemetry import Reporter
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings
from infaas.schemas.metadata import Assignment, Hardware, Ownership, Verdict, Worker
from infaas.schemas.reports import WorkerReport
from infaas.store.facts import FactWriter


@pytest.fixture
def cell(settings):
    one = Cell(settings, roles=("registrar",))
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()


class Reporting:
    """Workers that say that they are alive, without being there."""

    def __init__(self, cell, names):
        self.names, self._sequence, self._next = set(names), 0, 0.0
        self._reporter = Reporter(cell.outbox, cell.settings)
        self._facts = {name: FactWriter(cell.outbox, cell.settings, f"b-{name}") for name in names}
        for name, facts in self._facts.items():
            hardware = Hardware(cores=1, memory_bytes=10**9)
            facts.write(
                Worker(worker=name, boot_id=f"b-{name}", machine_type="local", hardware=hardware, price_per_hour=0.1)
            )

    def step(self):
        if time.monotonic() < self._next:
            return
        self._next, self._sequence = time.monotonic() + 0.5, self._sequence + 1
        for name in self.names:
            self._reporter.send(WorkerReport(worker=name, boot_id=f"b-{name}", sequence=self._sequence), name)

    def close(self):
        pass


def scaler(cell, **own):
    one = Scaler(settings=cell.settings, own=ScalerSettings(**own))
    cell.others.append(one)
    return one


def test_a_verdict_that_is_not_confirmed_is_pronounced_again(cell):
    workers = Reporting(cell, ["w0", "w1", "w2"])
    cell.others.append(workers)
    one = scaler(cell, silence_s=1.0)
    cell.until(lambda: one.leadership.is_leader and len(cell.table.view().live_workers) == 3, "workers")
    refused = refuse_once(one._candidate.outbox, Verdict(worker="w0", boot_id="").key)
    workers.names.discard("w0")
    cell.until(lambda: "w0" in cell.table.view().verdicts, "the verdict", 30)
    assert refused, "the first one was not confirmed"
    assert set(cell.table.view().live_workers) == {"w1", "w2"}


def test_an_assignment_that_outlived_its_variant_goes_although_its_tombstone_was_not_confirmed(cell):
    """Written by a leader that was stopped between a decision and the end of the topics: nobody but the next tick sees it."""
    old = Cell(cell.settings, roles=("scaler",))
    assignment = Assignment(variant=VARIANT, partitions=(Ownership(),))
    old.lead["scaler"].write(assignment)
    cell.until(lambda: old.step() or VARIANT in cell.table.view().assignments, "the assignment")
    old.lead["scaler"].resign()
    old.outbox.flush(10)
    old.close()
    one = scaler(cell)
    refused = refuse_once(one._candidate.outbox, assignment.key)
    cell.until(lambda: VARIANT not in cell.table.view().assignments, "its end", 30)
    assert refused, "the first tombstone was not confirmed"


def test_an_assignment_outlives_a_retired_variant_only_as_long_as_its_topics_do(cell):
    admin = Admin(cell.settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    record = cell.publish("sha256:" + "0" * 64)
    workers = Reporting(cell, ["w0"])
    cell.others.append(workers)
    one = scaler(cell)
    cell.until(lambda: one.leadership.is_leader and cell.table.view().variants, "the variant")
    one.leadership.write(Assignment(variant=VARIANT, partitions=(Ownership(),) * 4))
    cell.until(lambda: VARIANT in cell.table.view().assignments, "the assignment")
    cell.lead["registrar"].write(record.model_copy(update={"state": "retired"}))
    topic = cell.settings.names.work(VARIANT)
    cell.until(lambda: topic not in admin.topics(), "the topics to go")
    one.leadership.write(Assignment(variant=VARIANT, partitions=(Ownership(),) * 4))
    cell.until(lambda: VARIANT not in cell.table.view().assignments, "the assignment to go")
    admin.close()
