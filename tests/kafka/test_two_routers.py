"""Two routers on real Kafka, with a real scaler and a real worker: what both want is started once."""

import time

import pytest
from cell import VARIANT, Cell, doubling_model, outcome, profile

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.bus.telemetry import TelemetryReader
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.scaler.demand import WINDOW_S
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings
from infaas.schemas.reports import VariantWanted
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

OTHER = "twice.v1.onnxruntime-cpu1-fp32"
QUERY_MS = 5.0
AT_ONCE, RATE, FOR_S = 40, 60.0, 3.0
"""Queries at once, then so many a second, and for how long: the start is over by then. One instance takes twice as many."""


class Seen:
    """All instances that ever stood in the metadata, the wishes of routers, and the demand that the scaler saw."""

    def __init__(self, cell, scaler):
        self._cell, self._scaler = cell, scaler
        self._telemetry = TelemetryReader(cell.settings, client_id="seen")
        self.instances, self.wishes, self.rates = set(), [], []

    def step(self):
        self.instances |= {(i.worker, i.variant, i.instance) for i in self._cell.table.view().instances.values()}
        for report, _ in self._telemetry.poll(0):
            if isinstance(report, VariantWanted):
                self.wishes.append((report.router, report.variant))
        fold = self._scaler._fold
        self.rates.append(sum(one.rate for one in fold.demand.classes(fold.telemetry_s)))

    def close(self):
        self._telemetry.close()


@pytest.fixture
def cell(settings, environment):
    one = Cell(settings, roles=("registrar",))
    admin, digest = Admin(settings, client_id="test"), Repository().put(doubling_model())
    for variant, load_ms in ((VARIANT, 50.0), (OTHER, 60.0)):
        admin.ensure_variant_topics(variant)
        one.publish(digest, variant, found=profile(QUERY_MS, load_ms=load_ms))
    scaler = Scaler(settings=settings, own=ScalerSettings())
    one.routers = [Router(settings=settings, own=RouterSettings()) for _ in range(2)]
    worker = Supervisor(settings=settings, own=WorkerSettings(name="w", cores=4))
    one.others += [scaler, worker, *one.routers]
    one.seen = Seen(one, scaler)
    one.others.append(one.seen)
    one.until(lambda: one.table.view().live_workers, "the worker")
    one.until(lambda: [len(r._intake.partitions) for r in one.routers] == [6, 6], "half of the partitions each")
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()
    admin.close()


def test_what_two_routers_want_is_started_once_and_what_comes_meanwhile_starts_nothing_else(cell):
    begun, sent = time.monotonic(), 0

    def sending():
        nonlocal sent
        due = AT_ONCE + RATE * min(FOR_S, time.monotonic() - begun)
        while sent < due:
            cell.send(f"q{sent}", application="numbers", latency_ms=60_000)
            sent += 1
        return sent >= AT_ONCE + RATE * FOR_S and len(cell.answers) == sent

    cell.until(sending, "all answers")
    assert {outcome(records[0]) for records in cell.answers.values()} == {"ok"}
    assert all(router.dispatched for router in cell.routers)
    assert len({router for router, _ in cell.seen.wishes}) == 2, "each of them said so"
    assert cell.seen.instances == {("w", VARIANT, 0)}
    assert sum(router.dispatched for router in cell.routers) == sent
    assert max(cell.seen.rates) <= RATE + AT_ONCE / (WINDOW_S / 4), "what both have counted is what came"
