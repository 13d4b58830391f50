"""Reading a whole control topic, for commands that look back."""

from __future__ import annotations

from collections.abc import Iterator

from infaas.bus.admin import Admin
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.bus.span import SpanReader
from infaas.schemas.errors import BadInput

AT_ONCE = 5_000
PATIENCE_S = 30.0


def read_log(settings: BusSettings, topic: str, partition: int = 0) -> Iterator[Record]:
    """All records that are there now, oldest first.

    Raises:
        KafkaUnavailable: if they can't be read in time.
    """
    admin, reader = Admin(settings, client_id="infaas-cli"), SpanReader(settings, client_id="infaas-cli")
    try:
        admin.wait_for_broker()
        low, end = admin.watermarks({topic: partition + 1}).get((topic, partition), (0, 0))
        for start in range(low, end, AT_ONCE):
            yield from reader.read(topic, partition, start, min(start + AT_ONCE, end), timeout=PATIENCE_S)
    finally:
        reader.close()
        admin.close()


def read_record(settings: BusSettings, topic: str, partition: int, offset: int) -> Record | None:
    """The record at one place; None = it is no longer, or not yet, there."""
    admin, reader = Admin(settings, client_id="infaas-cli"), SpanReader(settings, client_id="infaas-cli")
    try:
        admin.wait_for_broker()
        low, end = admin.watermarks({topic: partition + 1}).get((topic, partition), (0, 0))
        if not low <= offset < end:
            return None
        records = reader.read(topic, partition, offset, offset + 1, timeout=PATIENCE_S)
        return records[0] if records else None
    finally:
        reader.close()
        admin.close()


def place_of(query_id: str) -> tuple[str, int, int]:
    """Topic, partition and offset that a query id names.

    Raises:
        BadInput: if it is none.
    """
    topic, _, offset = query_id.rpartition("-")
    topic, _, partition = topic.rpartition("-")
    if not topic or not partition.isascii() or not partition.isdigit() or not offset.isascii() or not offset.isdigit():
        raise BadInput("query id", "<topic>-<partition>-<offset>, as a reply's infaas-query-id says", query_id)
    return topic, int(partition), int(offset)
