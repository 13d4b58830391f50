"""Tables people read: variants, workers, instances."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from infaas.policy.capacity import capacity
from infaas.policy.price import cost_per_1000
from infaas.schemas.metadata import Variant
from infaas.store.view import View

MIB = 1024 * 1024


def variants_table(variants: Iterable[Variant], title: str = "Model variants") -> Table:
    """One line a variant: what it is, and what was measured: latency at batch 1 and at the largest batch, and so on."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("variant", overflow="fold", min_width=12)
    table.add_column("state", no_wrap=True)
    for name in ("accuracy", "ms at 1", "at most", "queries/s", "MiB", "load ms", "USD/h", "USD/1M"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in sorted(variants, key=lambda v: (v.application, v.architecture, v.variant)):
        profile = one.profile
        if profile is None:
            why = f"\n[dim]{escape(one.reason)}[/]" if one.reason else ""
            table.add_row(one.variant + why, f"[dim]{one.state}[/]", *[""] * 8)
            continue
        price = one.cost_per_hour or 0.0
        table.add_row(
            one.variant,
            one.state if one.state == "ready" else f"[dim]{one.state}[/]",
            f"{profile.accuracy:.4f}",
            f"{profile.latency_ms(1):.3g}",
            f"{profile.latency_ms(profile.max_batch):.3g} ({profile.max_batch})",
            f"{capacity(profile, None):,.0f}",
            f"{profile.peak_memory_bytes / MIB:.0f}",
            f"{profile.load_ms:.0f}",
            f"{price:.4f}",
            f"{1000 * cost_per_1000(profile, price):.3g}",
        )
    return table


def workers_table(view: View) -> Table:
    """One line a worker: what it has, and what runs on it."""
    table = Table(title="Workers", title_justify="left", header_style="bold")
    for name in ("worker", "type", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("cores", "GiB", "USD/h"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("runs", overflow="fold")
    for name, worker in sorted(view.workers.items()):
        alive = name in view.live_workers
        runs = Counter(f"{i.variant} {i.state}" for i in view.instances.values() if i.worker == name)
        builds = [f"building {v}" for (w, v), p in view.placements.items() if w == name and p.build]
        verdict = view.verdicts.get(name)
        state = worker.state if alive else f"dead: {verdict.reason}" if verdict else worker.state
        table.add_row(
            name,
            worker.machine_type,
            state if alive else f"[red]{state}[/]",
            str(worker.hardware.cores),
            f"{worker.hardware.memory_bytes / MIB / 1024:.1f}",
            f"{worker.price_per_hour:.3f}",
            "\n".join([*(f"{n} x {what}" for what, n in sorted(runs.items())), *sorted(builds)]) or "[dim]nothing[/]",
        )
    return table


def number(value: float, form: str = ".3g") -> str:
    """A figure for people: infinite, missing and endlessly large ones in words."""
    if math.isnan(value):
        return "-"
    return "over 1000" if value > 1000 else format(value, form)
