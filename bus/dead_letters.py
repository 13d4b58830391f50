"""Dead letters: a record nobody can handle, kept with where it stood and why, in Kafka Connect's headers.

A letter is tried until it is written: before that nothing is committed past its record. One that is too large even for this
topic is cut, first what is large in it, then all of it but the account of what it was.

Source: KIP-298 (error handling in Connect), `__connect.errors.*`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from traceback import format_exception

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError, PayloadTooLarge, ProducerFatal
from infaas.schemas.headers import HeaderList, headers_of
from infaas.schemas.topics import DEAD_LETTERS

log = logging.getLogger(__name__)
PREFIX = "__connect.errors."
KEPT_VALUE_BYTES = 64 * 1024
KEPT_BYTES = 1024  # of a key or a header
KEPT_NAME = 256
KEPT_MESSAGE, KEPT_TRACE = 2000, 8000
KEPT_HEADERS = 64
AGAIN_S, AGAIN_MAX_S = 0.1, 2.0


def _measure(content: bytes) -> str:
    return f"{len(content)} bytes, sha256 {sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Letter:
    """What a dead letter holds; `cut` leaves less of it."""

    key: bytes | None
    value: bytes | None
    headers: HeaderList
    """As they were found."""
    errors: HeaderList
    """What went wrong, and what was cut off."""
    cuts: int = 0
    whole: Letter | None = field(default=None, repr=False)
    """As it was before it was cut."""

    def cut(self) -> Letter | None:
        """The next smaller letter, with the length and the digest of all that is missing; None = there is none."""
        whole = self.whole or self
        match self.cuts:
            case 0:
                return whole._shortened(KEPT_VALUE_BYTES, KEPT_BYTES, KEPT_HEADERS, cuts=1)
            case 1:
                return whole._shortened(0, 0, 0, cuts=2)
            case _:
                return None

    def _shortened(self, value_bytes: int, other_bytes: int, header_count: int, *, cuts: int) -> Letter:
        told: list[tuple[str, object]] = [(PREFIX + "truncated", True)]
        for what, content, limit in (("value", self.value, value_bytes), ("key", self.key, other_bytes)):
            if content is not None and len(content) > limit:
                told += [(f"{PREFIX}{what}.bytes", len(content))]
                told += [(f"{PREFIX}{what}.sha256", sha256(content).hexdigest())]
        kept: HeaderList = []
        for name, raw in self.headers[:header_count]:
            short, content = name[:KEPT_NAME], raw or b""
            if short != name or len(content) > other_bytes:
                told.append((PREFIX + "header", f"{short}: {_measure(content)}"))
            kept.append((short, content[:other_bytes]))
        dropped = self.headers[header_count:]
        if dropped:
            total = b"".join(name.encode(errors="replace") + b"\0" + (content or b"") for name, content in dropped)
            told.append((PREFIX + "headers", f"{len(dropped)} left out: {_measure(total)}"))
        return Letter(
            key=None if self.key is None else self.key[:other_bytes],
            value=None if self.value is None else self.value[:value_bytes],
            headers=kept,
            errors=[*self.errors, *headers_of(told)],
            cuts=cuts,
            whole=self,
        )


def _trace(cause: Exception | str) -> bytes | None:
    """The end of the trace, where it was raised."""
    if not isinstance(cause, Exception) or cause.__traceback__ is None:
        return None
    return "".join(format_exception(cause))[-KEPT_TRACE:].encode(errors="replace")


class DeadLetters:
    """Writes dead letters through a service's outbox."""

    def __init__(self, outbox: Outbox, settings: BusSettings, *, service: str) -> None:
        self._outbox, self._topic, self._service = outbox, settings.names.of(DEAD_LETTERS), service

    def put(
        self, record: Record, *, stage: str, cause: Exception | str, on_done: Callable[[], None] | None = None
    ) -> None:
        """Writes a consumed record; `on_done` is called when it is confirmed, which is tried until it is.

        Raises:
            ProducerFatal: the process has to start again.
        """
        self.put_raw(
            key=record.key,
            value=record.value,
            headers=list(record.legible_headers),
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
                (PREFIX + "exception.message", str(cause)[:KEPT_MESSAGE].encode(errors="replace")),
                (PREFIX + "exception.stacktrace", _trace(cause)),
            ]
        )
        log.warning(
            "dead letter",
            extra={"topic": topic, "partition": partition, "offset": offset, "cause": str(cause)[:KEPT_MESSAGE]},
        )
        self._send(Letter(key, value, headers, errors), on_done, AGAIN_S)

    def _send(self, letter: Letter, on_done: Callable[[], None] | None, delay_s: float) -> None:
        def finished(delivery: Delivery) -> None:
            if delivery.error is not None:
                self._failed(letter, delivery.error, on_done, delay_s)
            elif on_done is not None:
                on_done()

        try:
            self._outbox.send(
                self._topic,
                key=letter.key,
                value=letter.value,
                headers=[*letter.headers, *letter.errors],
                on_done=finished,
            )
        except ProducerFatal:
            raise
        except InfaasError as error:
            self._failed(letter, error, on_done, delay_s)

    def _failed(self, letter: Letter, error: InfaasError, on_done: Callable[[], None] | None, delay_s: float) -> None:
        if isinstance(error, ProducerFatal):
            return  # the process ends, and the record comes again
        if isinstance(error, PayloadTooLarge) and (smaller := letter.cut()) is not None:
            self._send(smaller, on_done, delay_s)
            return
        log.warning("dead letter not written", extra={"error": str(error), "again_s": delay_s})
        self._outbox.later(delay_s, lambda: self._send(letter, on_done, min(2 * delay_s, AGAIN_MAX_S)))
