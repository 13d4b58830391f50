"""Writing a worker's facts: each under its boot id, so that facts of an earlier life are void."""

from __future__ import annotations

from collections.abc import Callable

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas import metadata
from infaas.schemas.headers import boot_headers
from infaas.schemas.topics import METADATA


class FactWriter:
    """Writes metadata records under one boot id."""

    def __init__(self, outbox: Outbox, settings: BusSettings, boot_id: str) -> None:
        self._outbox, self._topic, self.boot_id = outbox, settings.names.of(METADATA), boot_id

    def write(self, record: metadata.Record, on_done: Callable[[Delivery], None] | None = None) -> None:
        """Queues a record."""
        self._send(record.key, metadata.encode(record), on_done)

    def delete(self, key: str, on_done: Callable[[Delivery], None] | None = None) -> None:
        """Queues a tombstone."""
        self._send(key, None, on_done)

    def _send(self, key: str, value: bytes | None, on_done: Callable[[Delivery], None] | None) -> None:
        self._outbox.send(
            self._topic, key=key, value=value, headers=boot_headers(self.boot_id), partition=0, on_done=on_done
        )
