"""Workers as processes of this machine, each with a share of its cores: for one-machine cells, demos and tests.

The processes belong to whoever runs the cell (INFAAS_OWNER_PID, else this process) and end with it; they survive a scaler that is
restarted, which finds them again by the provider's id in their `machine/` record.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

import psutil

from infaas.host.deadlines import MACHINE_STOP_S
from infaas.host.spawn import spawn
from infaas.schemas.catalogue import CORE_PRICE_PER_HOUR
from infaas.schemas.metadata import Machine


class LocalProvisioner:
    """Starts `python -m infaas.workers`.

    Args:
        cores: a worker's share.
        memory_bytes: a worker's share; None = what the worker finds.
    """

    def __init__(self, *, cores: int, memory_bytes: int | None = None) -> None:
        self._cores, self._memory_bytes = cores, memory_bytes
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, machine: Machine) -> str:
        """See `Provisioner.start`."""
        if _find(machine) is not None:
            assert machine.provider_id is not None
            return machine.provider_id
        earlier = self._children.pop(machine.machine, None)
        if earlier is not None:  # its start was not written down: two of one name would depose each other
            earlier.kill()
            earlier.wait()
        environment = {
            "INFAAS_WORKER_NAME": machine.machine,
            "INFAAS_WORKER_CORES": str(self._cores),
            "INFAAS_WORKER_MACHINE_TYPE": machine.machine_type,
            "INFAAS_WORKER_PRICE_PER_HOUR": str(CORE_PRICE_PER_HOUR * self._cores),
            "INFAAS_OWNER_PID": os.environ.get("INFAAS_OWNER_PID", str(os.getpid())),
        }
        if self._memory_bytes is not None:
            environment["INFAAS_WORKER_MEMORY_BYTES"] = str(self._memory_bytes)
        child = spawn("infaas.workers", stdin=subprocess.DEVNULL, stdout=None, environment=environment, outlives=True)
        self._children[machine.machine] = child
        return f"{child.pid}:{psutil.Process(child.pid).create_time()}"

    def stop(self, machine: Machine) -> None:
        """See `Provisioner.stop`."""
        process, child = _find(machine), self._children.pop(machine.machine, None)
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.terminate()
                if child is None:  # an earlier scaler's: ours is waited for below, or it stays a zombie
                    _, left = psutil.wait_procs([process], timeout=MACHINE_STOP_S)
                    for survivor in left:
                        survivor.kill()
        if child is not None:
            try:
                child.wait(MACHINE_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _find(machine: Machine) -> psutil.Process | None:
    """The process of a provider's id, unless the number now belongs to another."""
    pid, _, created = (machine.provider_id or "").partition(":")
    if not pid.isdigit():
        return None
    try:
        process = psutil.Process(int(pid))
        return process if str(process.create_time()) == created else None
    except psutil.Error:
        return None
