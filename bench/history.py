"""What happened in a run, as it stands in the log: the checker's only input.

Everything is read from Kafka, in append times of one broker's clock; what a caller was shown is the caller's own journal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from infaas.schemas import headers as h
from infaas.schemas.names import query_id

COMMITS_TOPIC = "__consumer_offsets"
SERVED_VARIANT = ("infaas-served-variant", h.VARIANT)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it stands in a topic; `headers` is empty where they can't be read at all."""

    topic: str
    partition: int
    offset: int
    at_ms: float
    value: bytes | None = None
    key: bytes | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def position(self) -> str:
        """Topic, partition and offset: on `queries`, the query's id."""
        return query_id(self.topic, self.partition, self.offset)

    def text(self, *names: str) -> str:
        """The first of these headers that is there, as text; empty if none is."""
        for name in names:
            if name in self.headers:
                return (self.headers[name] or b"").decode(errors="replace")
        return ""

    def number(self, name: str) -> float | None:
        """A header as a number; None if it is not there or is none."""
        try:
            return float(self.text(name))
        except ValueError:
            return None

    @property
    def query(self) -> str:
        """The query it belongs to: the travel header, and for a query itself its place."""
        return self.text(h.QUERY_ID)

    @property
    def asked(self) -> str:
        """Of a query: the id its caller gave it."""
        return self.text(h.CLOUD_EVENT_ID)

    @property
    def variant(self) -> str:
        """Of a reply: which variant made it."""
        return self.text(*SERVED_VARIANT)


@dataclass(frozen=True, slots=True)
class CommitEntry:
    """One commit of a group, as it stands in the coordinator's log."""

    group: str
    topic: str
    partition: int
    offset: int
    at_ms: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a caller was told of one question, named by the id it gave it: a reply, or an error's code."""

    asked: str
    query: str = ""
    outcome: str = ""
    error: str = ""
    met: bool = False
    """Whether it was told that the objective was met."""


@dataclass(frozen=True, slots=True)
class History:
    """All of a run."""

    queries: tuple[Entry, ...] = ()
    returns: tuple[Entry, ...] = ()
    work: tuple[Entry, ...] = ()
    replies: tuple[Entry, ...] = ()
    dead_letters: tuple[Entry, ...] = ()
    commits: tuple[CommitEntry, ...] = ()
    shown: tuple[Shown, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    """Between which times (epoch ms) records of work were deleted before they were read."""
    callers: tuple[str, ...] = ()
    """How the ids begin that callers gave who were there to the end: they have to be shown all their answers."""
    confirmed: frozenset[str] = frozenset()
    """Positions the producer was told: each of them has to stand in `queries`."""

    def only(self, queries: Iterable[Entry]) -> History:
        """The same with these queries alone, for one slice of a run; the rest of the log stays."""
        chosen = tuple(queries)
        asked, places = {entry.asked for entry in chosen}, {entry.position for entry in chosen}
        shown = tuple(told for told in self.shown if told.asked in asked)
        return replace(self, queries=chosen, shown=shown, confirmed=self.confirmed & places)


def read_commit(entry: Entry) -> CommitEntry | None:
    """Reads a record of the coordinator's log; None where it is no commit (a group's members, a tombstone).

    Source: Kafka's OffsetCommitKey.json (versions 0 and 1) and OffsetCommitValue.json (the offset comes first in all).
    """
    key, value = entry.key or b"", entry.value
    if value is None or len(key) < 2 or struct.unpack_from(">h", key)[0] > 1:
        return None
    group, at = _string(key, 2)
    topic, at = _string(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    (offset,) = struct.unpack_from(">q", value, 2)
    return CommitEntry(group, topic, partition, offset, entry.at_ms)


def _string(raw: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">h", raw, at)
    return raw[at + 2 : at + 2 + size].decode(), at + 2 + size
