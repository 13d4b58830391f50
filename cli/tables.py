"""Tables people read: variants, workers, instances, applications, replies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from infaas.cli.listing import Column, Listing
from infaas.policy.capacity import capacity
from infaas.policy.price import cost_per_1000
from infaas.schemas.metadata import Variant
from infaas.schemas.reports import InstanceReport
from infaas.store.view import View

if TYPE_CHECKING:
    from infaas.client import Reply  # brings numpy, which most commands do without

MIB = 1024 * 1024
PHRASE, REFUSAL = 16, 34  # characters in which such a text can still be read


def variants_table(
    variants: Iterable[Variant], hindered: Mapping[str, str] | None = None, title: str = "Model variants"
) -> Listing:
    """One line a variant: what it is, and what was measured: latency at batch 1 and at the largest batch, and so on.

    Args:
        variants: in any order.
        hindered: why a variant can't be built or run now, by name.
        title: above them.
    """
    reasons = hindered or {}
    figures = (("accuracy", 1), ("ms at 1", 2), ("at most", 6), ("queries/s", 3), ("MiB", 7), ("load ms", 8), ("USD/h", 5), ("USD/1M", 4))  # fmt: skip
    table = Listing(title, [Column("variant"), Column("state"), *(Column(n, rank, right=True) for n, rank in figures)])
    for variant in sorted(variants, key=lambda v: (v.application, v.architecture, v.variant)):
        table.add(*_variant_cells(variant, reasons.get(variant.variant, "")))
    return table


def _variant_cells(variant: Variant, hindrance: str) -> tuple[str | Text, ...]:
    profile = variant.profile
    name = Text(variant.variant)
    for reason, style in ((hindrance, "yellow"), (variant.reason, "dim")):
        if reason:
            name.append(f"\n{reason}", style)
    if profile is None:
        return (name, Text(variant.state, "dim"), *[""] * 8)
    price = variant.cost_per_hour or 0.0
    return (
        name,
        variant.state if variant.state == "ready" else Text(variant.state, "dim"),
        f"{profile.accuracy:.4f}",
        f"{profile.latency_ms(1):.3g}",
        f"{profile.latency_ms(profile.max_batch):.3g} ({profile.max_batch})",
        f"{capacity(profile, None):,.0f}",
        f"{profile.peak_memory_bytes / MIB:.0f}",
        f"{profile.load_ms:.0f}",
        f"{price:.4f}",
        f"{1000 * cost_per_1000(profile, price):.3g}",
    )


def workers_table(view: View) -> Listing:
    """One line a worker: what it has, and what runs on it."""
    table = Listing(
        "Workers",
        [
            Column("worker"), Column("type", 4), Column("state", 1), Column("cores", 2, right=True),
            Column("GiB", 3, right=True), Column("USD/h", 5, right=True), Column("runs", folds=PHRASE),
        ],
    )  # fmt: skip
    for name, worker in sorted(view.workers.items()):
        alive = name in view.live_workers
        runs = Counter(f"{i.variant} {i.state}" for i in view.instances.values() if i.worker == name)
        builds = [f"building {v}" for (w, v), p in view.placements.items() if w == name and p.build]
        verdict = view.verdicts.get(name)
        state = worker.state if alive else f"dead: {verdict.reason}" if verdict else worker.state
        doing = [*(f"{n} x {what}" for what, n in sorted(runs.items())), *sorted(builds)]
        table.add(
            name,
            worker.machine_type,
            state if alive else Text(state, "red"),
            str(worker.hardware.cores),
            f"{worker.hardware.memory_bytes / MIB / 1024:.1f}",
            f"{worker.price_per_hour:.3f}",
            "\n".join(doing) or Text("nothing", "dim"),
        )
    return table


def instances_table(instances: Iterable[tuple[str, InstanceReport]]) -> Listing:
    """One line an instance, by worker, with what it has done."""
    figures = (("answered", 2), ("expired", 4), ("failed", 3), ("backlog", 1), ("batch", 6), ("ms each", 5), ("MiB", 7))
    names = [Column("variant"), Column("worker", 2), Column("state", 1)]
    table = Listing("Instances", [*names, *(Column(name, rank, right=True) for name, rank in figures)])
    for worker, instance in instances:
        backlog = sum(p.end - p.completed for p in instance.positions)
        batch = instance.batch_size_sum / instance.batches if instance.batches else 0.0
        table.add(
            instance.variant, worker, instance.state, str(instance.answered), str(instance.expired), str(instance.failed),
            str(backlog), f"{batch:.1f}", f"{instance.query_ms:.2f}", f"{instance.memory_bytes / MIB:.0f}",
        )  # fmt: skip
    return table


def applications_table(view: View, waiting: Mapping[str, int]) -> Listing:
    """One line an architecture: what became of it, why it is not ready, and how much waits for its variants."""
    table = Listing(
        "Applications",
        [
            Column("application", 3), Column("architecture"), Column("version", 4, right=True), Column("state", folds=PHRASE),
            Column("variants ready", 1, right=True), Column("waiting", 2, right=True),
        ],
    )  # fmt: skip
    for architecture in sorted(view.architectures.values(), key=lambda a: (a.application, a.architecture)):
        mine = [v for v in view.variants.values() if v.architecture == architecture.architecture]
        ready = sum(v.state == "ready" for v in mine)
        table.add(
            architecture.application,
            architecture.architecture,
            str(architecture.version),
            architecture.state + (f": {architecture.reason}" if architecture.reason else ""),
            f"{ready} of {len(mine)}",
            str(sum(waiting.get(v.variant, 0) for v in mine)),
        )
    return table


def replies_table(replies: Iterable[tuple[Text, Reply]], title: str = "") -> Listing:
    """One line a reply: who answered and why, or why not; what was asked comes first where it has a name."""
    rows = list(replies)
    named = any(asked.plain for asked, _ in rows)
    figures = (("accuracy", 1), ("ms", 2), ("queue", 4), ("inference", 5), ("USD/1M", 3))
    asked_column = [Column("asked", folds=PHRASE)] if named else []
    answered = Column("answered by", folds=REFUSAL if any(r.outcome != "ok" for _, r in rows) else 0)
    table = Listing(title, [*asked_column, answered, *(Column(name, rank, right=True) for name, rank in figures)])
    for asked, reply in rows:
        table.add(*([asked] if named else []), *_reply_cells(reply))
    return table


def _reply_cells(reply: Reply) -> tuple[str | Text, ...]:
    if reply.outcome != "ok":
        refusal = Text.assemble((reply.outcome, "red"), f" ({reply.reason}): {reply.message}")
        if reply.suggestion:
            refusal.append(f"\nnearest: {reply.suggestion}", "dim")
        return (refusal, "", f"{reply.latency_ms:.1f}", "", "", "")
    answered = Text.assemble(reply.variant, (f"\non {reply.worker}", "dim"))
    if not reply.objective_met:
        limit = f" ({reply.reason})" if reply.reason else ""
        answered.append(f"\nmisses the objective{limit}", "yellow")
    return (
        answered,
        f"{reply.accuracy:.4f}",
        f"{reply.latency_ms:.1f}",
        f"{reply.queue_ms:.1f}",
        f"{reply.inference_ms:.2f}",
        f"{reply.cost * 1e6:.3g}",
    )


def number(value: float, form: str = ".3g") -> str:
    """A figure for people: infinite, missing and endlessly large ones in words."""
    if math.isnan(value):
        return "-"
    return "over 1000" if value > 1000 else format(value, form)
