"""`infaas status`: who is there and what runs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.table import Table as RichTable

from infaas.bus.admin import Admin
from infaas.bus.backlog import Backlogs, read_backlogs
from infaas.bus.cell import find_cell
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import TelemetryReader
from infaas.cli.console import out, told
from infaas.cli.tables import number, workers_table
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
    out.print(
        f"Kafka {settings.bootstrap_servers}, topics {settings.topic_prefix}*, metadata at offset {view.offset}",
        highlight=False,
    )
    for role in ("scaler", "registrar"):
        tick = ticks.get(role)
        out.print(
            f"{role}: " + (f"leads since epoch {tick.epoch}" if tick else "[red]nobody leads[/]"), highlight=False
        )
    scaler = ticks.get("scaler")
    if scaler is not None and scaler.headroom:
        room = ", ".join(f"{number(h, '.2f')}" for h in scaler.headroom.values())
        out.print(f"headroom {room}, the fleet costs {scaler.cost_per_hour:.4f} USD/h", highlight=False)
    out.print(
        f"routers: {len(routers)}, {sum(r.dispatched for r in routers.values())} queries dispatched", highlight=False
    )
    out.print(workers_table(view))
    if instances:
        out.print(_instances_table(instances))
    apps = RichTable(title="Applications", title_justify="left", header_style="bold")
    for name in ("application", "architecture", "version", "state", "variants ready", "waiting"):
        apps.add_column(name, justify="right" if name in ("version", "variants ready", "waiting") else "left")
    waiting = _waiting(settings, view.variants)
    for one in sorted(view.architectures.values(), key=lambda a: (a.application, a.architecture)):
        mine = [v for v in view.variants.values() if v.architecture == one.architecture]
        ready = sum(v.state == "ready" for v in mine)
        state = one.state + (f": {one.reason}" if one.reason else "")
        apps.add_row(
            one.application, one.architecture, str(one.version), state, f"{ready} of {len(mine)}",
            str(sum(waiting.count(v.variant) for v in mine)),
        )  # fmt: skip
    out.print(apps)


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


def _instances_table(instances: list[tuple[str, InstanceReport]]) -> RichTable:
    table = RichTable(title="Instances", title_justify="left", header_style="bold")
    table.add_column("variant", overflow="fold", min_width=12)
    for name in ("worker", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("answered", "expired", "failed", "backlog", "batch", "ms each", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker, one in instances:
        backlog = sum(p.end - p.completed for p in one.positions)
        batch = one.batch_size_sum / one.batches if one.batches else 0.0
        table.add_row(
            one.variant, worker, one.state, str(one.answered), str(one.expired), str(one.failed), str(backlog),
            f"{batch:.1f}", f"{one.query_ms:.2f}", f"{one.memory_bytes / 2**20:.0f}",
        )  # fmt: skip
    return table


def _waiting(settings: BusSettings, variants: Iterable[str]) -> Backlogs:
    admin = Admin(settings, client_id="infaas-status")
    try:
        return read_backlogs(admin, settings.names, variants)
    finally:
        admin.close()
