"""The supervisor as it is started: its instances are copies of its fork server, and come back whatever of it is killed."""

import subprocess
import sys

import psutil
import pytest
from cell import VARIANT, Cell, doubling_model
from processes import family, left_of

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.host.spawn import spawn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no fork server")
SERVE = "infaas.workers.serve"


@pytest.fixture
def cell(settings, environment):
    cell = Cell(settings)
    admin = Admin(settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    admin.close()
    cell.publish(Repository().put(doubling_model()))
    yield cell
    cell.close()


@pytest.fixture
def worker():
    process = spawn(
        "infaas.workers",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        environment={"INFAAS_WORKER_NAME": "w1", "INFAAS_WORKER_CORES": "1"},
    )
    yield process
    process.kill()
    process.wait()


def instances(worker):
    return [child for child in psutil.Process(worker.pid).children() if SERVE in child.cmdline()]


def active(cell, worker, *, after=None):
    """The next instance, after one that is killed here."""
    facts = cell.table.view().instances
    told = max((fact.sequence for fact in facts.values()), default=0)
    if after is not None:
        after.kill()

    def ready():
        return any(fact.state == "active" and fact.sequence > told for fact in cell.table.view().instances.values())

    cell.until(ready, "an active instance")
    (instance,) = instances(worker)
    assert instance != after
    return instance


def private_bytes(process):
    return process.memory_full_info().uss


def test_an_instance_is_a_copy_and_comes_back_with_its_server_and_without(cell, worker):
    cell.place("w1", 1)
    first = active(cell, worker)
    (server,) = [child for child in psutil.Process(worker.pid).children() if child != first]
    assert first.ppid() == worker.pid
    copy = active(cell, worker, after=first)
    shared = private_bytes(copy)
    server.kill()
    scratch = active(cell, worker, after=copy)
    assert shared < 0.8 * private_bytes(scratch), "or neither was a copy"
    everything = family(worker.pid)
    worker.kill()
    assert left_of(everything) == []
