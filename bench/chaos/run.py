"""The fault matrix: each cell is a fault in the middle of a steady load, then quiet, then the checker.

One stack serves all cells that need no links, another those that do; a cell that leaves a stack unable to answer is told apart,
and the next begins on a fresh one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from infaas.bench import checker
from infaas.bench.chaos.faults import FAULTS, Fault
from infaas.bench.chaos.recovery import recovery_s
from infaas.bench.chaos.stage import Stage, expected
from infaas.bench.chaos.timeline import timeline
from infaas.bench.checker import Findings
from infaas.bench.history import History
from infaas.cli.console import progress
from infaas.schemas import headers as h
from infaas.schemas.errors import ConfigurationError
from infaas.schemas.topics import ROUTER_GROUP, WORK_GROUP

RATE = 100.0
BEFORE_S, AFTER_S = 3.0, 7.0
SHOWN = 5
QUIET_S, QUIESCE_S = 12.0, 60.0


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell of the matrix found."""

    fault: str
    findings: Findings
    in_time: float
    """Share of its online queries."""
    recover_s: float | None
    """0 = not felt; None = it did not recover."""
    restarted: int
    """Services that ended although nobody had ended them."""
    not_run: str = ""
    """Why it could not be run."""

    @property
    def doubled_per_1000(self) -> float:
        """Further replies."""
        return 1000.0 * len(self.findings.doubled) / max(1, self.findings.queries)


def chaos(*, seed: int = 0, cells: Sequence[str] = (), minutes: float = 60.0, timelines: bool = False) -> list[Cell]:
    """Runs the matrix.

    Args:
        seed: of the load, and of when in a second a fault strikes.
        cells: beginnings of the names of those to run; empty = all.
        minutes: after so many none is begun.
        timelines: whether to tell what happened around each fault.
    """
    chosen = [fault for fault in FAULTS if not cells or fault.name.startswith(tuple(cells))]
    if not chosen:
        raise ConfigurationError(f"no cell is called so; there are {', '.join(fault.name for fault in FAULTS)}")
    progress(f"{len(chosen)} cells, seed {seed}")
    random, until = Random(seed), time.monotonic() + minutes * 60.0
    out: list[Cell] = []
    for linked in (False, True):
        waiting = [fault for fault in chosen if fault.linked is linked]
        while waiting:
            out += _on_one_stage(waiting, linked=linked, random=random, until=until, timelines=timelines)
    return out


def _on_one_stage(
    waiting: list[Fault], *, linked: bool, random: Random, until: float, timelines: bool
) -> Iterator[Cell]:
    """Takes faults off the list until it is empty or the stage is of no more use."""
    with (
        tempfile.TemporaryDirectory(prefix="infaas-chaos-") as folder,
        Stage(Path(folder), linked=linked, seed=random.randrange(2**31), progress=progress) as stage,
    ):
        while waiting:
            if not stage.is_healthy():
                progress("this stack does not answer any more: a fresh one")
                return
            fault = waiting.pop(0)
            if time.monotonic() > until:
                yield _not_run(fault, "no time was left")
            elif fault.kind == "disk full" and stage.disk is None:
                yield _not_run(fault, "this user can mount no small disk")
            else:
                yield _cell(stage, fault, random, timelines=timelines)


def _not_run(fault: Fault, why: str) -> Cell:
    progress(f"{fault.name}: not run, {why}")
    return Cell(fault.name, Findings(), 0.0, None, 0, why)


def _cell(stage: Stage, fault: Fault, random: Random, *, timelines: bool) -> Cell:
    stage.restarted.clear()
    begun_ms = time.time() * 1000.0
    stage.ask(RATE)
    stage.run(BEFORE_S + random.random())
    struck_ms = time.time() * 1000.0
    heal = fault.strike(stage)
    stage.run(fault.lasts_s)
    heal()
    stage.run(AFTER_S)
    stage.ask(0)
    history = _quiesce(stage, begun_ms)
    if history is None:
        return _not_run(fault, f"its log could not be read to the end: {stage.observer.trouble or 'too slowly'}")
    names = stage.stack.settings.names
    findings = checker.check(
        history, expected, queries_group=names.group(ROUTER_GROUP), work_group=names.group(WORK_GROUP)
    )
    online = [q for q in history.queries if checker.is_online(q)]
    replies = checker.replies_of(history)
    in_time = sum(checker.in_time(q, replies.get(q.position, ())) for q in online) / max(1, len(online))
    cell = Cell(
        fault.name, findings, in_time, recovery_s(history, struck_ms=struck_ms),
        max(0, len(stage.restarted) - fault.ends_services),
    )  # fmt: skip
    progress(f"{fault.name}: {line_of(cell)}")
    if timelines:
        for line in timeline(history, stage.observer.metadata(), struck_ms):
            progress(f"  {line}")
    for kind, found in findings.broken.items():
        progress(f"  {kind} {found}:")
        for place in getattr(findings, kind)[:SHOWN]:
            progress(f"    {story_of(history, place, struck_ms)}")
    return cell


def _quiesce(stage: Stage, begun_ms: float) -> History | None:
    """Waits until all of the cell's queries have ended, or none ends any more; None = what is there could not be read."""
    begun = changed = time.monotonic()
    before = -1
    while True:
        stage.run(0.5)
        caught_up = stage.observer.catch_up(5.0)
        history = stage.history()
        history = history.only(query for query in history.queries if query.at_ms >= begun_ms)
        left, now = len(checker.open_queries(history)), time.monotonic()
        if left != before or not caught_up:
            before, changed = left, now
        if left == 0 or now > changed + QUIET_S or now > begun + QUIESCE_S:
            return history if caught_up else None


def story_of(history: History, place: str, struck_ms: float) -> str:
    """What became of one query, in ms from the fault."""
    query = next((query for query in history.queries if query.position == place), None)
    if query is None:
        return place
    told = [
        f"{reply.text(h.OUTCOME)} {reply.text(h.REASON)} met={reply.text(h.OBJECTIVE_MET)} at {reply.at_ms - struck_ms:+.0f} by {reply.variant} "
        f"on {reply.text(h.WORKER)}"
        for reply in history.replies
        if reply.query == place
    ]
    sent = [
        f"{work.topic}-{work.partition}@{work.offset} at {work.at_ms - struck_ms:+.0f}"
        for work in history.work
        if work.query == place
    ]
    return (
        f"{place} at {query.at_ms - struck_ms:+.0f}, deadline {checker.deadline_ms(query) - struck_ms:+.0f}, work: {sent or 'none'}, "
        f"replies: {told or 'none'}"
    )


def line_of(cell: Cell) -> str:
    """What a cell found, in a line."""
    recovered = "never" if cell.recover_s is None else f"{cell.recover_s:.1f} s"
    found = ", ".join(f"{n} {kind}" for kind, n in cell.findings.broken.items()) or "nothing wrong"
    return (
        f"{cell.findings.queries} queries, {cell.in_time:.0%} in time, {found}, doubled {cell.doubled_per_1000:.1f} per 1,000, "
        f"recovered {recovered}, {cell.restarted} ended unasked"
    )


def total(cells: Iterable[Cell], kind: str) -> int:
    """How many of a kind all cells found."""
    return sum(len(getattr(cell.findings, kind)) for cell in cells)
