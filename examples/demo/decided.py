"""What was decided and why, from the `decisions` topic: by the router about a query, by the scaler about the fleet."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.table import Table
from rich.text import Text

from infaas.bus.admin import Admin
from infaas.bus.settings import BusSettings
from infaas.bus.span import SpanReader
from infaas.schemas import decisions
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.topics import DECISIONS


def read(settings: BusSettings) -> list[DecisionRecord]:
    """All decisions there are, oldest first."""
    topic = settings.names.of(DECISIONS)
    admin, reader = Admin(settings, client_id="demo-admin"), SpanReader(settings, client_id="demo-reader")
    try:
        low, end = admin.watermarks({topic: 1})[topic, 0]
        return [decisions.decode(record.value) for record in reader.read(topic, 0, low, end)]
    finally:
        reader.close()
        admin.close()


def reasons(records: Sequence[DecisionRecord], queries: Collection[str]) -> dict[str, str]:
    """Why the router chose as it did, by query id."""
    return {record.about: record.reason for record in records if record.about in queries}


def by_scaler(records: Sequence[DecisionRecord], since_ms: float) -> list[tuple[float, str]]:
    """What the scaler did from a moment on: seconds since then, and what in words."""
    return [
        ((record.at_ms - since_ms) / 1000.0, f"{record.decision} {record.about}{_change(record)}: {record.reason}")
        for record in records
        if record.by == "scaler" and record.at_ms >= since_ms
    ]


def as_table(steps: Sequence[tuple[float, str]]) -> Table:
    """For the terminal."""
    table = Table(title="What the scaler did meanwhile", title_justify="left", show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for at_s, what in steps:
        table.add_row(f"{at_s:.0f} s", Text(what))
    return table


def _change(record: DecisionRecord) -> str:
    before, after = record.inputs.get("before"), record.inputs.get("after")
    if before is None or after is None:
        return ""
    if sum(before.values()) == sum(after.values()):
        return f" ({_where(before)} → {_where(after)})"
    return f" ({sum(before.values())} → {sum(after.values())})"


def _where(placed: dict[str, int]) -> str:
    return ", ".join(f"{n} on {worker}" for worker, n in sorted(placed.items()))
