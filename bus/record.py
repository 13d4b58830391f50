"""One record as it was consumed."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Message

from infaas.schemas.headers import as_map


class Record:
    """A consumed record; headers are taken out of the client's memory only when asked for."""

    __slots__ = ("_headers", "_map", "_message", "offset", "partition", "topic")

    def __init__(self, message: Message) -> None:
        self._message = message
        self._headers: list[tuple[str, bytes]] | None = None
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
    def headers(self) -> list[tuple[str, bytes]]:
        """All headers in their order."""
        if self._headers is None:
            self._headers = self._message.headers() or []  # type: ignore[assignment]
        assert self._headers is not None
        return self._headers

    @property
    def header_map(self) -> Mapping[str, bytes | str | None]:
        """Headers by name; the last of a name counts."""
        if self._map is None:
            self._map = as_map(self.headers)
        return self._map

    def __repr__(self) -> str:
        return f"Record({self.topic}-{self.partition}@{self.offset})"
