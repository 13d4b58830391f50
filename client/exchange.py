"""Questions out, answers in: one producer and one partition of the reply topic, served by one thread.

The reader's position is fixed before the first question is sent, so no answer can come before it. An answer counts if its query
id says where the question was confirmed to stand, so nobody answers for somebody else; one that is quicker than the confirmation
waits for it. The first that counts is the answer; later ones are counted as duplicates. Whatever ends the thread ends all futures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import uuid_utils

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import ClientClosed, InfaasError, PayloadTooLarge, QueryTimeout, QueueFull
from infaas.schemas.headers import CORRELATION, QUERY_ID, HeaderList, text
from infaas.schemas.names import query_id

log = logging.getLogger(__name__)
POLL_S = 0.01
LOOK_EVERY_S = 0.05
FULL_S = 0.002
AGAIN_S = 0.1
LATE_FOR_S = 600.0  # an answer that comes later still counts as a duplicate
LATE_LIMIT = 100_000
EARLY_LIMIT = 8  # answers to one question that wait for its confirmation


@dataclass(slots=True)
class _Open:
    future: Future[tuple[Record, float]]
    sent: float
    until: float
    query_id: str | None = None
    """Where the question stands, once that is confirmed."""
    alone: bool = False
    """Whether it goes by itself, since those it went with were too much for the topic."""
    early: list[tuple[Record, float]] = field(default_factory=list)
    """Answers that came before, with the moment."""


class Exchange:
    """Sends records and pairs what comes back.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        reply_topic: a topic of the caller's own; None = the cell's.
    """

    def __init__(self, settings: BusSettings, *, client_id: str, reply_topic: str | None) -> None:
        self._outbox = Outbox(settings, client_id=client_id)
        self._reader = ReplyReader(settings, client_id=client_id, topic=reply_topic)
        self._address = self._reader.address_headers()
        self._name = uuid_utils.uuid4().hex
        self._next = 0
        self._open: dict[str, _Open] = {}
        self._late: dict[str, float] = {}
        self._error: InfaasError | None = None
        self._lock = threading.Lock()
        self._closing = self._closed = False
        self.duplicates = 0
        """Answers to a question that had been answered."""
        self.mismatched = 0
        """Answers to one of our questions under the query id of another."""
        self._thread = threading.Thread(target=self._serve, daemon=True, name=client_id)
        self._thread.start()

    def ask(
        self, topic: str, *, value: bytes, key: bytes | None = None, headers: HeaderList, timeout: float
    ) -> Future[tuple[Record, float]]:
        """Sends a record; the future holds the answer and its latency (ms). Waits while the local queue is full.

        Raises:
            PayloadTooLarge, UnknownTopic, ProducerFatal, ClientClosed: it was not sent.
        """
        now = time.monotonic()
        with self._lock:
            if self._error is not None:
                raise ClientClosed(f"the client has failed: {self._error}") from self._error
            if self._closing:
                raise ClientClosed("the client is closed")
            self._next += 1
            correlation = f"{self._name}-{self._next}"
            asked = _Open(Future(), now, now + timeout)
            self._open[correlation] = asked
        sent = [*headers, *self._address, (CORRELATION[0], correlation.encode())]

        def done(delivery: Delivery) -> None:
            self._delivered(correlation, delivery, again)

        def again() -> None:
            try:
                self._outbox.send(
                    topic, value=value, key=key, headers=sent, on_done=done, wait=False, alone=asked.alone
                )
            except QueueFull:
                self._outbox.later(AGAIN_S, again)
            except InfaasError as error:
                self._fail(correlation, error)

        try:
            self._send(topic, value, key, sent, asked, done)
        except InfaasError:
            with self._lock:
                self._open.pop(correlation, None)
            raise
        return asked.future

    def close(self, timeout: float = 5.0) -> None:
        """Stops; what has not been answered fails with ClientClosed."""
        with self._lock:
            if self._closed:
                return
            self._closed = self._closing = True
        self._thread.join(timeout)
        self._end(ClientClosed("the client was closed before the answer came"))
        self._reader.close()
        self._outbox.close(timeout)

    def _send(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        headers: HeaderList,
        asked: _Open,
        done: Callable[[Delivery], None],
    ) -> None:
        while True:
            try:
                self._outbox.send(topic, value=value, key=key, headers=headers, on_done=done, wait=False)
                return
            except QueueFull:
                if time.monotonic() > asked.until:
                    raise
                time.sleep(FULL_S)  # the thread serves the queue meanwhile

    def _fail(self, correlation: str, error: InfaasError) -> None:
        self._forget(correlation)
        self._settle(correlation, error=error)

    def _delivered(self, correlation: str, delivery: Delivery, again: Callable[[], None]) -> None:
        """What could not be delivered yet goes again as long as somebody waits for the answer: a broker may be away for a while."""
        asked = self._open.get(correlation)
        if delivery.error is not None:
            if asked is not None and isinstance(delivery.error, PayloadTooLarge) and not asked.alone:
                asked.alone = True  # the cell's limit may be below ours, and counts for what goes together
                again()
            elif asked is not None and delivery.error.retryable:
                self._outbox.later(AGAIN_S, again)
            else:
                self._fail(correlation, delivery.error)
            return
        if asked is None:
            return
        where = query_id(delivery.topic, delivery.partition, delivery.offset)
        # A repeated send may be confirmed without its offset (-1): then the partition is all that can be compared.
        asked.query_id = where if delivery.offset >= 0 else where.removesuffix("-1")
        for record, came in asked.early:
            self._match(correlation, asked, record, came)
        asked.early.clear()

    def _serve(self) -> None:
        look = 0.0
        try:
            while not self._closing:
                records = self._reader.poll(POLL_S)
                self._outbox.poll(0)  # a question's confirmation goes before its answer
                for record in records:
                    self._take(record)
                now = time.monotonic()
                if now >= look:
                    look = now + LOOK_EVERY_S
                    self._expire(now)
        except Exception as error:
            log.warning("the client's thread has ended", exc_info=error)
            self._end(error if isinstance(error, InfaasError) else ClientClosed(f"the client has failed: {error!r}"))

    def _take(self, record: Record) -> None:
        came = time.monotonic()
        try:
            correlation = text(record.header_map.get(CORRELATION[0]), CORRELATION[0])
        except Exception:  # noqa: BLE001 - somebody else's: everybody may write to this topic, and anything
            return
        if not correlation.startswith(self._name):
            return
        asked = self._open.get(correlation)
        if asked is not None:
            if asked.query_id is not None:
                self._match(correlation, asked, record, came)
            elif len(asked.early) < EARLY_LIMIT:
                asked.early.append((record, came))
        elif self._late.pop(correlation, None) is None:
            self.duplicates += 1

    def _match(self, correlation: str, asked: _Open, record: Record, came: float) -> None:
        """Settles a question that stands somewhere, if the answer is to what stands there."""
        raw = record.header_map.get(QUERY_ID)
        answered = raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
        known = asked.query_id or ""
        if answered != known and not (known.endswith("-") and answered.startswith(known)):
            self.mismatched += 1
            log.warning("an answer to another query", extra={"query_id": known, "answered": answered[:100]})
        elif correlation in self._open:
            self._settle(correlation, record=record, came=came)
        else:
            self.duplicates += 1

    def _settle(
        self, correlation: str, *, record: Record | None = None, came: float = 0.0, error: InfaasError | None = None
    ) -> None:
        with self._lock:
            asked = self._open.pop(correlation, None)
        if asked is None or not asked.future.set_running_or_notify_cancel():
            return
        if record is not None:
            asked.future.set_result((record, (came - asked.sent) * 1000.0))
        else:
            asked.future.set_exception(error)

    def _expire(self, now: float) -> None:
        with self._lock:
            overdue = [(correlation, asked.sent) for correlation, asked in self._open.items() if asked.until <= now]
        for correlation, sent in overdue:
            self._forget(correlation)
            what = f"no answer within {now - sent:.1f} s; `infaas status` shows whether routers and workers are there"
            self._settle(correlation, error=QueryTimeout(what))
        while self._late:
            first = next(iter(self._late))
            if self._late[first] > now and len(self._late) <= LATE_LIMIT:
                break
            del self._late[first]

    def _forget(self, correlation: str) -> None:
        """Nobody waits for this answer any more; when it comes it is no duplicate."""
        self._late[correlation] = time.monotonic() + LATE_FOR_S

    def _end(self, error: InfaasError) -> None:
        with self._lock:
            self._closing = True
            if not self._closed:
                self._error = error
            waiting = list(self._open)
        for correlation in waiting:
            self._settle(correlation, error=error)
