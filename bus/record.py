"""One record as it was consumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import methodcaller

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from infaas.schemas.errors import BadHeader
from infaas.schemas.headers import as_map

# For a name that is no UTF-8 the client returns a list with a hole in it and an exception set. Where the interpreter has
# specialised a method call (hot code) it does not look for that, and the hole ends the process; called from C it is looked for.
_headers_of: Callable[[Message], list[tuple[str, bytes]] | None] = methodcaller("headers")


class Record:
    """A consumed record; headers are taken out of the client's memory only when asked for."""

    __slots__ = ("_headers", "_map", "_message", "_trouble", "offset", "partition", "topic")

    def __init__(self, message: Message) -> None:
        self._message = message
        self._headers: list[tuple[str, bytes]] | None = None
        self._trouble: BadHeader | None = None
        self._map: dict[str, bytes | str | None] | None = None
        self.topic: str = message.topic() or ""
        partition, offset = message.partition(), message.offset()
        self.partition: int = -1 if partition is None else partition
        self.offset: int = -1 if offset is None else offset

    @property
    def key(self) -> bytes | None:
        """The key's bytes."""
        key = self._message.key()
        return key.encode() if isinstance(key, str) else key

    @property
    def value(self) -> bytes:
        """The value's bytes; empty for a tombstone."""
        return self._message.value() or b""

    @property
    def tombstone(self) -> bool:
        """Whether there is no value at all."""
        return self._message.value() is None

    @property
    def timestamp_ms(self) -> float:
        """Epoch ms: the broker's append time where the topic says so, else the producer's."""
        return float(self._message.timestamp()[1])

    @property
    def appended_ms(self) -> float | None:
        """When the broker appended it, epoch ms; None where the topic has the producer's time instead."""
        kind, stamp = self._message.timestamp()
        return float(stamp) if kind == TIMESTAMP_LOG_APPEND_TIME else None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """All headers in their order.

        Raises:
            BadHeader: they can't be read, such as names that are no UTF-8.
        """
        if self._headers is None:
            self._headers = self._read()
        return self._headers

    @property
    def legible_headers(self) -> list[tuple[str, bytes]]:
        """All headers, or none where they can't be read: for what is written about the record."""
        try:
            return self.headers
        except BadHeader:
            return []

    def _read(self) -> list[tuple[str, bytes]]:
        if self._trouble is None:
            try:
                return _headers_of(self._message) or []
            except Exception as error:  # noqa: BLE001 - the client raises SystemError; asked again it says that there are none
                self._trouble = BadHeader("headers", "names and values that can be read", str(error.__cause__ or error))
        raise self._trouble

    @property
    def header_map(self) -> Mapping[str, bytes | str | None]:
        """Headers by name; the last of a name counts.

        Raises:
            BadHeader: as `headers`.
        """
        if self._map is None:
            self._map = as_map(self.headers)
        return self._map

    def __repr__(self) -> str:
        return f"Record({self.topic}-{self.partition}@{self.offset})"
