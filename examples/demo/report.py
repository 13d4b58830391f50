"""The report: in the terminal, and as report.md, report.png and report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from infaas.examples.demo.tally import Answer, Moment, percentiles


def lines(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is told, as name and figure."""
    balanced = figures["queries_sent"] == figures["replies"] + figures["rejections"]
    saved = figures["cost_static_usd"] / figures["cost_usd"] if figures["cost_usd"] else float("inf")
    reasons = ", ".join(f"{n} {why}" for why, n in figures["reasons"].items()) or "none"
    return [
        ("queries sent", f"{figures['queries_sent']} = {figures['replies']} replies + {figures['rejections']} rejections" + ("" if balanced else f" + {figures['lost']} LOST")),
        ("rejections", reasons),
        ("duplicates", str(figures["duplicates"])),
        ("accuracy, measured on the replies", f"{figures['served_accuracy']:.4f}"),
        *((f"- {kind}", f"{accuracy:.4f}") for kind, accuracy in figures["accuracy_by_kind"].items()),
        ("not answered within the objective", f"{figures['violations']} ({figures['violations'] / max(1, figures['queries_sent']):.1%})"),
        ("latency", f"p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms"),
        *((f"- {variant}", f"{share:.1%} of the replies") for variant, share in figures["variants_used"].items()),
        ("cost", f"{figures['cost_usd']:.6f} USD in {figures['seconds']:.0f} s"),
        ("the most accurate variant, fixed for the peak", f"{figures['cost_static_usd']:.6f} USD: {saved:.1f} times as much"),
    ]  # fmt: skip


def as_table(figures: Mapping[str, Any]) -> Table:
    """For the terminal."""
    table = Table(title="Report", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, figure in lines(figures):
        table.add_row(Text(name), Text(figure))
    return table


def write(
    folder: Path,
    figures: Mapping[str, Any],
    steps: Sequence[tuple[float, str]],
    answers: Sequence[Answer],
    moments: Sequence[Moment],
) -> list[Path]:
    """Writes the three files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("report.md", "report.png", "report.json")]
    body = ["# INFaaS on Kafka: demo report", "", "| what | figure |", "| --- | --- |"]
    body += [f"| {name} | {figure} |" for name, figure in lines(figures)]
    body += ["", "## What the scaler did", "", *(f"- {at_s:.0f} s: {what}" for at_s, what in steps)]
    body += ["", "![load, instances, latency and cost over time](report.png)", ""]
    paths[0].write_text("\n".join(body))
    _draw(paths[1], answers, moments)
    paths[2].write_bytes(orjson.dumps({**figures, "scaler": steps}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return paths


def _draw(path: Path, answers: Sequence[Answer], moments: Sequence[Moment]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(4, 1, figsize=(9, 10), sharex=True, layout="constrained")
    at = [m.at_s for m in moments]
    axes[0].fill_between(at, [m.offered for m in moments], alpha=0.4)
    axes[0].set_ylabel("queries/s offered")
    names = sorted({v for m in moments for v in m.instances})
    counts = [[m.instances.get(v, 0) for m in moments] for v in names]
    if names:
        axes[1].stackplot(at, counts, labels=names, step="post")
        axes[1].legend(fontsize=7, loc="upper left")
    axes[1].set_ylabel("instances")
    second = range(int(max(at, default=0)) + 1)
    for kind in sorted({a.kind for a in answers}):
        mine = [percentiles([a for a in answers if a.kind == kind and s <= a.sent_s < s + 1]) for s in second]
        axes[2].plot(list(second), [p50 for p50, _ in mine], label=f"{kind}, p50")
        axes[2].plot(
            list(second),
            [p99 for _, p99 in mine],
            linestyle=":",
            color=axes[2].lines[-1].get_color(),
            label=f"{kind}, p99",
        )
    axes[2].set_yscale("log")
    axes[2].set_ylabel("ms")
    axes[2].legend(fontsize=7, ncols=3)
    axes[3].step(at, [m.cost_per_hour for m in moments], where="post")
    axes[3].set_ylabel("USD/h")
    axes[3].set_xlabel("seconds")
    axes[0].set_title("Load, and what the scaler made of it")
    figure.savefig(path, dpi=110)
    plt.close(figure)
