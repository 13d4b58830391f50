"""What a process of ours imports, and what it needs."""

import subprocess
import sys

import psutil
import pytest
from cell import VARIANT, Cell, doubling_model, outcome

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.schemas.metadata import Owner
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

LIMIT_BYTES = 150 * 2**20


@pytest.mark.parametrize(
    "module", ["infaas.router.__main__", "infaas.workers.__main__", "infaas.workers.serve", "infaas.client"]
)
def test_the_data_path_imports_neither_torch_nor_faststream(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'faststream', 'onnx', 'onnxruntime', 'scipy', 'sklearn'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_supervisor_can_fork_its_server_before_it_has_a_thread_and_is_small():
    code = (
        "import os, sys, infaas.workers.__main__; "
        "print(sorted({'numpy', 'fsspec'} & set(sys.modules)), len(os.listdir('/proc/self/task')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] 1"


def test_an_instance_that_serves_onnx_is_small(settings, environment):
    cell = Cell(settings)
    admin = Admin(settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    admin.close()
    cell.publish(Repository().put(doubling_model()))
    one = Supervisor(settings=settings, own=WorkerSettings(name="w1", cores=1))
    cell.others.append(one)
    cell.place("w1", 1)
    cell.until(lambda: any(i.state == "active" for i in cell.table.view().instances.values()), "the instance")
    cell.assign([Owner(worker="w1", boot_id=one.boot_id, instance=0)] * 4)
    cell.until(lambda: any(i.taken == (0, 1, 2, 3) for i in cell.table.view().instances.values()), "its partitions")
    cell.others.append(Router(settings=settings, own=RouterSettings()))
    cell.send("q", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("q")) == "ok"
    pid = one._running[VARIANT, 0].child.pid
    resident = psutil.Process(pid).memory_info().rss
    for other in reversed(cell.others):
        other.close()
    cell.close()
    assert resident < LIMIT_BYTES, f"{resident / 2**20:.0f} MiB"
