"""`infaas explain`: why a query went where it went: from its decision record, else from what the topics still hold."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer

from infaas.bus.cell import find_cell
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.cli.console import complain, out, progress, say, told
from infaas.cli.listing import Column, Listing
from infaas.cli.topic_log import place_of, read_log, read_record
from infaas.router.reconstruct import reconstruct
from infaas.schemas import decisions, reports
from infaas.schemas.decisions import UNRECORDED, DecisionRecord
from infaas.schemas.errors import BadInput
from infaas.schemas.reports import AnyReport
from infaas.schemas.topics import DECISIONS, METADATA, TELEMETRY

FIGURES = ("accuracy", "cost_per_1000", "p99_ms", "predicted_ms", "backlog", "ready_in_ms", "waiting")
REPORTS_MS = 5_000.0  # a worker reports every 0.5 s
DECIDED_MS = 1_000.0  # a query waits no longer for a router, as a rule
COMPACTED_MS = float(METADATA.config["min.compaction.lag.ms"])
ALSO = "refusals (so many a second), a sample of dispatches and queries sent with infaas-explain: true leave one"


@told
def explain(
    query_id: Annotated[str, typer.Argument(help="As the reply's infaas-query-id says: TOPIC-PARTITION-OFFSET.")],
    json: Annotated[bool, typer.Option("--json", help="The decision records as JSON lines.")] = False,
) -> None:
    """Show what was decided about a query, from which inputs and why.

    Where no decision record is left the decision is made again, on the metadata and the reports of that moment. Exit status 1 if
    the query is not there either.

    Example: `infaas explain infaas.queries-3-17`
    """
    place = place_of(query_id)
    settings = find_cell()
    records, unrecorded, oldest_ms = _decisions(settings, query_id)
    for record in records:
        _tell(record, f"recorded then, on the metadata up to offset {record.view_offset}", json=json)
    if not records:
        _say_why_not(settings, query_id, oldest_ms)
        query = read_record(settings, *place)
        if query is None:
            progress("the query itself is not in its topic (any more)")
            raise typer.Exit(1)
        _say_what_came(query)
        _say_left_out(unrecorded, query.timestamp_ms)
        _reconstruct(settings, query, json=json)


def _decisions(settings: BusSettings, query_id: str) -> tuple[list[DecisionRecord], list[DecisionRecord], float | None]:
    """What was decided about a query, and what was not kept of any, oldest first, and how far back the topic reaches.

    The last is in epoch ms; None = the topic is empty.
    """
    recorded: list[DecisionRecord] = []
    unrecorded: list[DecisionRecord] = []
    oldest_ms: float | None = None
    for record in read_log(settings, settings.names.of(DECISIONS)):
        oldest_ms = record.timestamp_ms if oldest_ms is None else oldest_ms
        if query_id.encode() not in record.value and UNRECORDED.encode() not in record.value:
            continue
        try:
            decision = decisions.decode(record.value)
        except BadInput as error:
            complain(f"unreadable: {DECISIONS.name} at offset {record.offset}: {error}")
            continue
        if decision.about == query_id:
            recorded.append(decision)
        elif decision.decision == UNRECORDED:
            unrecorded.append(decision)
    return recorded, unrecorded, oldest_ms


def _reconstruct(settings: BusSettings, query: Record, *, json: bool) -> None:
    """Makes the decision again, and says on what.

    Raises:
        typer.Exit: no metadata reaches so far back.
    """
    heard = _reports(settings, query.timestamp_ms)
    again = reconstruct(query, read_log(settings, settings.names.of(METADATA)), heard)
    if again is None:
        complain(f"not reconstructed: {settings.names.of(METADATA)} holds nothing from before the query")
        raise typer.Exit(1)
    basis = f"reconstructed now, on the metadata up to offset {again.record.view_offset} and "
    if again.reports:
        basis += f"{again.reports} reports of workers in the {REPORTS_MS / 1000:g} s before it came"
    else:
        basis += (
            f"no reports: {settings.names.of(TELEMETRY)} does not reach back so far, and nothing is known of queues"
        )
    if time.time() * 1000 - query.timestamp_ms > COMPACTED_MS:
        basis += "; metadata as old may have been compacted since, and what was replaced is missing"
    inputs = {**again.record.inputs, "reconstructed": basis}
    _tell(again.record.model_copy(update={"inputs": inputs}), basis, json=json)


def _reports(settings: BusSettings, before_ms: float) -> list[tuple[AnyReport, float]]:
    """What was reported in the seconds before a moment, with the topic's time of each."""
    out = []
    for record in read_log(settings, settings.names.of(TELEMETRY)):
        if record.timestamp_ms > before_ms:
            break
        if record.timestamp_ms < before_ms - REPORTS_MS:
            continue
        try:
            out.append((reports.decode(record.value), record.timestamp_ms))
        except BadInput as error:
            complain(f"unreadable: {TELEMETRY.name} at offset {record.offset}: {error}")
    return out


def _tell(record: DecisionRecord, basis: str, *, json: bool) -> None:
    if json:
        say(orjson.dumps(record.model_dump(mode="json")).decode())
    else:
        _show(record, basis)


def _show(record: DecisionRecord, basis: str) -> None:
    say(f"{record.decision} by the {record.by} at {_time(record.at_ms)} UTC: {record.reason}")
    say(basis)
    asked = record.inputs.get("asked", {})
    if asked:
        say("asked: " + ", ".join(f"{name} {value}" for name, value in asked.items() if value not in (None, [], "")))
    if "found" in record.inputs:
        say(f"found: {record.inputs['found']}")
    candidates = record.inputs.get("candidates", [])
    if candidates:
        out.print(_candidates(candidates))
        if record.inputs.get("unlisted"):
            say(f"and {record.inputs['unlisted']} that were further from what the query wished for")
    elif "candidates" in record.inputs:
        say("candidates: none met the accuracy floor and the cost limit")


def _candidates(candidates: list[Mapping[str, Any]]) -> Listing:
    """One line a variant that was eligible, with what was predicted of it."""
    names = [name for name in FIGURES if any(name in candidate for candidate in candidates)]
    columns = [Column("variant"), Column("state", 1), *(Column(n, at + 2, right=True) for at, n in enumerate(names))]
    table = Listing("Candidates", columns)
    for candidate in candidates:
        state = f"{candidate.get('state', 'not to be placed')}{_on(candidate)}"
        table.add(str(candidate.get("variant")), state, *(_figure(candidate.get(name)) for name in names))
    return table


def _on(candidate: Mapping[str, Any]) -> str:
    return f" on {candidate['worker']}" if "worker" in candidate else ""


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _say_why_not(settings: BusSettings, query_id: str, oldest_ms: float | None) -> None:
    reach = "holds nothing" if oldest_ms is None else f"reaches back to {_time(oldest_ms)} UTC"
    complain(f"unrecorded: no decision record of {query_id}: {ALSO}, and {settings.names.of(DECISIONS)} {reach}")


def _say_left_out(unrecorded: list[DecisionRecord], came_ms: float) -> None:
    """Whether a router refused more just then than it keeps records of."""
    for summary in unrecorded:
        if (
            came_ms <= summary.inputs.get("ended_ms", 0.0)
            and summary.inputs.get("begun_ms", math.inf) <= came_ms + DECIDED_MS
        ):
            complain(f"not kept: {summary.reason}")


def _say_what_came(query: Record) -> None:
    names = [f"{name} {value.decode(errors='backslashreplace')}" for name, value in query.legible_headers]
    progress(
        f"the query came at {_time(query.timestamp_ms)} UTC, {len(query.value)} bytes, with "
        + (", ".join(names) or "no headers")
    )


def _time(at_ms: float) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000.0, UTC):%Y-%m-%d %H:%M:%S}"
