"""`infaas status`: who is there and what runs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.text import Text

from infaas.bus.admin import Admin
from infaas.bus.backlog import Backlogs, read_backlogs
from infaas.bus.cell import find_cell
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import TelemetryReader
from infaas.cli.console import complain, out, say, told
from infaas.cli.hindrances import hindrances
from infaas.cli.tables import applications_table, instances_table, number, workers_table
from infaas.cli.variants import read_view
from infaas.schemas.reports import InstanceReport, RouterReport, Tick, WorkerReport

LISTEN_S = 1.2


@told
def status() -> None:
    """Show leaders, workers, instances, applications and what waits.

    Example: `infaas status`
    """
    settings = find_cell()
    view = read_view()
    ticks, routers, instances = _listen(settings)
    say(f"Kafka {settings.bootstrap_servers}, topics {settings.topic_prefix}*, metadata at offset {view.offset}")
    for role in ("scaler", "registrar"):
        tick = ticks.get(role)
        out.print(Text(f"{role}: ").append(*_leading(tick)))
    scaler = ticks.get("scaler")
    if scaler is not None and scaler.headroom:
        room = ", ".join(f"{number(h, '.2f')}" for h in scaler.headroom.values())
        say(f"headroom {room}, the fleet costs {scaler.cost_per_hour:.4f} USD/h")
    say(f"routers: {len(routers)}, {sum(r.dispatched for r in routers.values())} queries dispatched")
    out.print(workers_table(view))
    if instances:
        out.print(instances_table(instances))
    waiting = _waiting(settings, view.variants)
    out.print(applications_table(view, {name: waiting.count(name) for name in view.variants}))
    for variant, reason in hindrances(view).items():
        complain(f"hindered: {variant} ({view.variants[variant].state}): {reason}")


def _leading(tick: Tick | None) -> tuple[str, str]:
    return ("nobody leads", "red") if tick is None else (f"leads since epoch {tick.epoch}", "")


def _listen(settings: BusSettings) -> tuple[dict[str, Tick], dict[str, RouterReport], list[tuple[str, InstanceReport]]]:
    reader = TelemetryReader(settings, client_id="infaas-status", back_ms=1500)
    ticks: dict[str, Tick] = {}
    routers: dict[str, RouterReport] = {}
    workers: dict[str, WorkerReport] = {}
    try:
        until = time.monotonic() + LISTEN_S
        while time.monotonic() < until:
            for report, _ in reader.poll(0.1):
                match report:
                    case Tick():
                        ticks[report.role] = report
                    case RouterReport():
                        routers[report.boot_id] = report
                    case WorkerReport():
                        workers[report.worker] = report
    finally:
        reader.close()
    return ticks, routers, [(name, i) for name, report in sorted(workers.items()) for i in report.instances]


def _waiting(settings: BusSettings, variants: Iterable[str]) -> Backlogs:
    admin = Admin(settings, client_id="infaas-status")
    try:
        return read_backlogs(admin, settings.names, variants)
    finally:
        admin.close()
