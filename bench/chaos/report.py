"""What the matrix found: one line of figures, and a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from infaas.bench.chaos.run import Cell, total

NEVER_S = 999.0
KINDS = ("lost", "wrong", "unanswered", "below_floor", "late_unmarked", "passed", "overtaken")
INTRODUCTION = """# Faults

What happens to queries when something breaks. `make chaos` runs the matrix (about 15 minutes) and writes this page: each cell is
a steady load of 100 queries a second whose answers are known (strict and not, online and offline, with and without an accuracy
floor, two models of which one is below it), a fault in the middle of it, quiet, and then a checker that reads the whole log.

- *lost*: neither a reply nor a dead letter; *unanswered*: no reply; *wrong*: an `ok` reply that is not what the served variant's
  model answers, or a reply of somebody else's query; *floor*: served below a strict floor; *late*: in the log after
  its deadline, and neither its headers nor what its caller is told show it; *passed*: a commit went past a record that was not
  done. All of them have to be 0.
- *overtaken*: replies whose sender expected them to be in time, and which were on their way when something broke. Nobody can mark
  what has left; the log's append time and the reply's `infaas-due` tell, and `Client` says that such a reply missed its objective.
- *doubled*: further replies to a query, per 1,000; a caller's `Client` shows the first.
- *in time*: share of the online queries answered `ok` by their deadline, those during the fault included.
- *recovered*: from the fault to the first in-time answer after which, for a second, every online query was answered in time; it
  contains the time the fault lasts. 0 = it was not felt.
- *unasked*: services that ended although the fault had not ended them.
- A *machine* is a supervisor with its instances; a *client* is a caller's process. A slow link has 100 ms a round trip and
  1 Mbit/s; a clock is wrong for what Python sees of it.
"""


def figures(cells: Sequence[Cell]) -> dict[str, object]:
    """One line; `doubled_per_1000` is the worst cell's, a cell that did not recover counts as 999 s."""
    run = [cell for cell in cells if not cell.not_run]
    recovered = [NEVER_S if cell.recover_s is None else cell.recover_s for cell in run]
    return {
        "queries": sum(cell.findings.queries for cell in run),
        **{kind: total(run, kind) for kind in KINDS},
        "doubled_per_1000": round(max((cell.doubled_per_1000 for cell in run), default=0.0), 2),
        "recover_s_p50": round(median(recovered), 3) if recovered else 0.0,
        "recover_s_max": round(max(recovered), 3) if recovered else 0.0,
        "cells": len(run),
    }


def table(cells: Sequence[Cell]) -> str:
    """A row a cell, as Markdown."""
    rows = [
        "| who | what | queries | lost | wrong | unanswered | floor | late | passed | overtaken | doubled /1,000 | in time | recovered s | unasked |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for cell in cells:
        role, kind = cell.fault.split("/", maxsplit=1)
        if cell.not_run:
            rows.append(f"| {role} | {kind} | not run: {cell.not_run} |" + " |" * 11)
            continue
        recovered = "never" if cell.recover_s is None else f"{cell.recover_s:.1f}"
        found = " | ".join(str(len(getattr(cell.findings, name))) for name in KINDS)
        rows.append(
            f"| {role} | {kind} | {cell.findings.queries} | {found} | {cell.doubled_per_1000:.1f} | {cell.in_time:.1%} | {recovered} "
            f"| {cell.restarted} |"
        )
    return "\n".join(rows)


def page(cells: Sequence[Cell], *, seed: int) -> str:
    """The whole page."""
    return f"{INTRODUCTION}\nSeed {seed}.\n\n{table(cells)}\n"
