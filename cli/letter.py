"""One dead letter, as it stands in its topic: the record that nobody could handle, where it was, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from infaas.bus.dead_letters import PREFIX
from infaas.bus.record import Record

RETRIED = PREFIX + "retried"
"""On a marker record without a value: the offset of the letter that was produced again. On the record itself: likewise."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        offset: in the dead letters' topic: its number.
        at: when it was written.
        topic: where it was, with `partition` and `place`.
        partition: of it.
        place: its offset there.
        stage: what was being done with it.
        cause: the error's class and message.
        headers: its own, without those of the dead letter.
        key: its own.
        value: its own; cut if `truncated`.
        truncated: whether something of it is missing.
        retried: whether it was produced again.
    """

    offset: int
    at: datetime
    topic: str
    partition: int
    place: int
    stage: str
    cause: str
    headers: tuple[tuple[str, bytes], ...]
    key: bytes | None
    value: bytes
    truncated: bool
    retried: bool

    @property
    def position(self) -> str:
        """Where it was."""
        return f"{self.topic}-{self.partition}-{self.place}"


def letters(records: Iterable[Record]) -> list[Letter]:
    """The letters of a topic in their order; those with a marker behind them are known as retried."""
    present = list(records)
    retried = {_text(record, RETRIED) for record in present if record.tombstone}
    return [_letter(r, str(r.offset) in retried) for r in present if not (r.tombstone and _text(r, RETRIED))]


def _letter(record: Record, retried: bool) -> Letter:
    kind, message = _text(record, PREFIX + "exception.class.name"), _text(record, PREFIX + "exception.message")
    return Letter(
        offset=record.offset,
        at=datetime.fromtimestamp(record.timestamp_ms / 1000.0, UTC),
        topic=_text(record, PREFIX + "topic"),
        partition=_number(record, PREFIX + "partition"),
        place=_number(record, PREFIX + "offset"),
        stage=_text(record, PREFIX + "stage"),
        cause=message if kind in ("", "str") else f"{kind}: {message}",
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX)),
        key=record.key,
        value=record.value,
        truncated=bool(_text(record, PREFIX + "truncated")),
        retried=retried,
    )


def _text(record: Record, name: str) -> str:
    """The last header of a name: a letter that failed again has those of before, too."""
    value = record.header_map.get(name)
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _number(record: Record, name: str) -> int:
    text = _text(record, name)
    return int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else -1
