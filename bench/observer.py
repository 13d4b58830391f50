"""Reads a cell's whole log while it runs, before anything in it is deleted: what the checker looks at.

Work is deleted below what was committed every minute, and a variant's topics go with it: hence meanwhile and not afterwards.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Self

from infaas.bench.history import COMMITS_TOPIC, CommitEntry, Entry, History, Shown, read_commit
from infaas.bus.admin import Admin
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.bus.span import SpanReader
from infaas.schemas.errors import InfaasError, OffsetLost
from infaas.schemas.topics import DEAD_LETTERS, METADATA, OFFLINE, QUERIES, REPLIES, RETURNS, WORK

log = logging.getLogger(__name__)
EVERY_S = 0.5
READ_S = 5.0


class Observer:
    """Follows every topic of a cell that tells what became of queries, in a thread of its own; a context manager.

    Args:
        settings: of the cell.
        reply_topics: full names of further topics that replies go to.
    """

    def __init__(self, settings: BusSettings, *, reply_topics: Iterable[str] = ()) -> None:
        self._settings, self._names = settings, settings.names
        self._reply_topics = {self._names.of(REPLIES), *reply_topics}
        self._at: dict[tuple[str, int], int] = {}
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        self._commits: list[CommitEntry] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._rounds = 0
        self.trouble = ""
        """Why the last round could not read everything; empty = it could."""
        self._asked_ms: dict[tuple[str, int], float] = {}
        self._gaps: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._follow, daemon=True, name="observer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(30.0)

    def catch_up(self, timeout: float = 30.0) -> bool:
        """Waits until all that stood in the log at the call has been read; False if it was not in time."""
        wanted, deadline = self._rounds + 2, time.monotonic() + timeout  # the round under way has begun before
        while self._rounds < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._rounds >= wanted

    def history(self, shown: Iterable[Shown] = (), confirmed: Iterable[str] = ()) -> History:
        """All that was read so far."""
        with self._lock:
            of = {name: tuple(entries) for name, entries in self._entries.items()}
            commits, gaps = tuple(self._commits), tuple(self._gaps)
        prefixes = (self._names.prefix + WORK.name + ".", self._names.prefix + OFFLINE.name + ".")
        return History(
            queries=of.get(self._names.of(QUERIES), ()),
            returns=of.get(self._names.of(RETURNS), ()),
            work=tuple(e for name, entries in of.items() if name.startswith(prefixes) for e in entries),
            replies=tuple(e for name in self._reply_topics for e in of.get(name, ())),
            dead_letters=of.get(self._names.of(DEAD_LETTERS), ()),
            commits=commits,
            shown=tuple(shown),
            gaps=gaps,
            confirmed=frozenset(confirmed),
        )

    def metadata(self) -> tuple[Entry, ...]:
        """Every metadata record so far."""
        with self._lock:
            return tuple(self._entries[self._names.of(METADATA)])

    def _follow(self) -> None:
        admin, reader = Admin(self._settings, client_id="observer"), SpanReader(self._settings, client_id="observer")
        try:
            while not self._closing.is_set():
                try:
                    self._round(admin, reader)
                    self._rounds += 1
                    self.trouble = ""
                except InfaasError as error:  # a broker that is away comes back
                    self.trouble = str(error)
                    log.debug("observing", extra={"error": self.trouble})
                self._closing.wait(EVERY_S)
        finally:
            admin.close()
            reader.close()

    def _round(self, admin: Admin, reader: SpanReader) -> None:
        topics = {name: count for name, count in admin.topics().items() if self._is_wanted(name)}
        topics |= {name: count for name in self._reply_topics if (count := admin.partitions(name))}
        topics[COMMITS_TOPIC] = admin.partitions(COMMITS_TOPIC)
        asked_ms = time.time() * 1000.0
        for (topic, partition), (low, end) in admin.watermarks(topics).items():
            at = self._at.get((topic, partition), 0)
            if at < low:
                self._miss(topic, partition)
                at = low
            while at < end and not self._closing.is_set():
                at = self._read(reader, topic, partition, at, min(end, at + 2000))
            self._at[topic, partition], self._asked_ms[topic, partition] = at, asked_ms

    def _miss(self, topic: str, partition: int) -> None:
        with self._lock:
            self._gaps.append((self._asked_ms.get((topic, partition), 0.0), time.time() * 1000.0))

    def _read(self, reader: SpanReader, topic: str, partition: int, start: int, end: int) -> int:
        try:
            records = reader.read(topic, partition, start, end, timeout=READ_S)
        except OffsetLost:  # deleted between the question and the reading
            self._miss(topic, partition)
            return end
        keep = (
            topic in (self._names.of(QUERIES), self._names.of(METADATA), COMMITS_TOPIC) or topic in self._reply_topics
        )
        entries = [_entry(record, with_value=keep) for record in records]
        with self._lock:
            if topic == COMMITS_TOPIC:
                self._commits += [commit for entry in entries if (commit := read_commit(entry)) is not None]
            else:
                self._entries[topic] += entries
        return end

    def _is_wanted(self, name: str) -> bool:
        fixed = {self._names.of(topic) for topic in (QUERIES, RETURNS, REPLIES, DEAD_LETTERS, METADATA)}
        return name in fixed or name.startswith(
            (f"{self._names.prefix}{WORK.name}.", f"{self._names.prefix}{OFFLINE.name}.")
        )


def _entry(record: Record, *, with_value: bool) -> Entry:
    headers = dict(record.legible_headers)
    value = record.value if with_value and not record.tombstone else None
    return Entry(record.topic, record.partition, record.offset, record.timestamp_ms, value, record.key, headers)
