"""Dead letters: a record nobody can handle, kept with where it stood and why, in Kafka Connect's headers.

Source: KIP-298 (error handling in Connect), `__connect.errors.*`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError, PayloadTooLarge
from infaas.schemas.headers import HeaderList, headers_of
from infaas.schemas.topics import DEAD_LETTERS

log = logging.getLogger(__name__)
PREFIX = "__connect.errors."
KEPT_BYTES = 64 * 1024  # of a value that is too large even for this topic


class DeadLetters:
    """Writes dead letters through a service's outbox."""

    def __init__(self, outbox: Outbox, settings: BusSettings, *, service: str) -> None:
        self._outbox, self._topic, self._service = outbox, settings.names.of(DEAD_LETTERS), service

    def put(
        self, record: Record, *, stage: str, cause: Exception | str, on_done: Callable[[], None] | None = None
    ) -> None:
        """Writes a consumed record; `on_done` is called when it is confirmed, which is tried until it is."""
        self.put_raw(
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            where=(record.topic, record.partition, record.offset),
            stage=stage,
            cause=cause,
            on_done=on_done,
        )

    def put_raw(
        self,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: HeaderList,
        where: tuple[str, int, int],
        stage: str,
        cause: Exception | str,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        """The same for what is no consumed record: a reply, or a range of lost offsets."""
        topic, partition, offset = where
        errors = headers_of(
            [
                (PREFIX + "topic", topic),
                (PREFIX + "partition", partition),
                (PREFIX + "offset", offset),
                (PREFIX + "connector.name", self._service),
                (PREFIX + "stage", stage),
                (PREFIX + "exception.class.name", type(cause).__name__ if isinstance(cause, Exception) else "str"),
                (PREFIX + "exception.message", str(cause)[:2000]),
            ]
        )
        log.warning(
            "dead letter", extra={"topic": topic, "partition": partition, "offset": offset, "cause": str(cause)}
        )
        self._send(key, value, headers + errors, on_done)

    def _send(
        self, key: bytes | None, value: bytes | None, headers: HeaderList, on_done: Callable[[], None] | None
    ) -> None:
        def finished(delivery: Delivery) -> None:
            if delivery.error is None:
                if on_done is not None:
                    on_done()
            elif isinstance(delivery.error, PayloadTooLarge):
                self._send(key, (value or b"")[:KEPT_BYTES], [*headers, (PREFIX + "truncated", b"true")], on_done)
            else:
                self._send(key, value, headers, on_done)

        try:
            self._outbox.send(self._topic, key=key, value=value, headers=headers, on_done=finished)
        except PayloadTooLarge:
            self._send(key, (value or b"")[:KEPT_BYTES], [*headers, (PREFIX + "truncated", b"true")], on_done)
        except InfaasError as error:
            # Nobody hears `on_done`, so the record is not committed, and comes again.
            log.warning("dead letter not written", extra={"error": str(error)})
            if not error.retryable:
                raise
