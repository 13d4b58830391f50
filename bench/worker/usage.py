"""Processor time and memory of the processes that a cell is made of."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from infaas.cli.stack import Stack
from infaas.schemas.errors import InfaasError

MIB = 1024.0 * 1024.0
SERVE = "infaas.workers.serve"
WAIT_S = 30.0


def cores(processes: Mapping[str, psutil.Process], seconds: float) -> dict[str, float]:
    """Cores that each takes meanwhile."""
    before, begun = {name: _used_s(process) for name, process in processes.items()}, time.monotonic()
    time.sleep(seconds)
    span_s = time.monotonic() - begun
    return {name: round((_used_s(process) - before[name]) / span_s, 4) for name, process in processes.items()}


def parts(stack: Stack) -> dict[str, psutil.Process]:
    """The processes of a cell with one worker, by what they are."""
    assert stack.broker is not None
    out = {"broker": psutil.Process(stack.broker.pid)}
    names = {"worker-1": "supervisor", "router-1": "router"}
    for name, service in stack.services.items():
        out[names.get(name, name)] = psutil.Process(service.pid)
    children = out["supervisor"].children(recursive=True)
    for number, child in enumerate(instances(children)):
        out[f"instance-{number + 1}" if number else "instance"] = child
    for child in children:
        if child not in out.values():
            out["fork server"] = child
    return out


def instances(children: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that serve."""
    return [child for child in children if SERVE in child.cmdline() and child.num_threads() > 1]


def instance_of(stack: Stack, worker: str) -> psutil.Process:
    """The newest instance of a worker, once it runs.

    Raises:
        InfaasError: none does.
    """
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = instances(psutil.Process(stack.services[worker].pid).children(recursive=True))
        if found:
            return max(found, key=lambda child: child.create_time())
        time.sleep(0.05)
    raise InfaasError(f"no instance runs at {worker}")


def beyond_model_mb(instance: psutil.Process, model: Path) -> dict[str, float]:
    """What an instance has resident, less what a bare process needs for the model beside an empty interpreter; MiB."""
    whole, session, empty = instance.memory_info().rss, _bare(str(model)), _bare()
    return {
        "rss_mb_beyond_model": (whole - (session - empty)) / MIB,
        "rss_mb_instance": whole / MIB,
        "rss_mb_model": (session - empty) / MIB,
    }


def _bare(*model: str) -> int:
    command = [sys.executable, "-m", "infaas.bench.worker.bare", *model]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def _used_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)
