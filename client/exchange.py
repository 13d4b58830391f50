"""Questions out, answers in: one producer and one partition of the reply topic, served by one thread.

The reader's position is fixed before the first question is sent, so no answer can come before it. The first answer counts; later
ones of the same question are counted as duplicates.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import uuid_utils

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.replies import ReplyReader
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import ClientClosed, InfaasError, QueryTimeout, QueueFull
from infaas.schemas.headers import CORRELATION, HeaderList, text

log = logging.getLogger(__name__)
POLL_S = 0.01
LOOK_EVERY_S = 0.05
FULL_S = 0.002


@dataclass(slots=True)
class _Open:
    future: Future[tuple[Record, float]]
    sent: float
    until: float


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
        self._late: set[str] = set()
        self._lock = threading.Lock()
        self._closing = False
        self.duplicates = 0
        """Answers to a question that had been answered."""
        self._thread = threading.Thread(target=self._serve, daemon=True, name=client_id)
        self._thread.start()

    def ask(
        self, topic: str, *, value: bytes, key: bytes | None = None, headers: HeaderList, timeout: float
    ) -> Future[tuple[Record, float]]:
        """Sends a record; the future holds the answer and its latency (ms). Waits while the local queue is full.

        Raises:
            PayloadTooLarge, DeliveryFailed, ProducerFatal, ClientClosed: it was not sent.
        """
        now = time.monotonic()
        with self._lock:
            if self._closing:
                raise ClientClosed("the client is closed")
            self._next += 1
            correlation = f"{self._name}-{self._next}"
            one = _Open(Future(), now, now + timeout)
            self._open[correlation] = one
        sent = [*headers, *self._address, (CORRELATION[0], correlation.encode())]
        try:
            self._send(topic, value, key, sent, one, lambda d: self._delivered(correlation, d))
        except InfaasError:
            with self._lock:
                self._open.pop(correlation, None)
            raise
        return one.future

    def close(self, timeout: float = 5.0) -> None:
        """Stops; what has not been answered fails with ClientClosed."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._thread.join(timeout)
        for one in self._open.values():
            if not one.future.done():
                one.future.set_exception(ClientClosed("the client was closed before the answer came"))
        self._open.clear()
        self._reader.close()
        self._outbox.close(timeout)

    def _send(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        headers: HeaderList,
        one: _Open,
        done: Callable[[Delivery], None],
    ) -> None:
        while True:
            try:
                self._outbox.send(topic, value=value, key=key, headers=headers, on_done=done, wait=False)
                return
            except QueueFull:
                if time.monotonic() > one.until:
                    raise
                time.sleep(FULL_S)  # the thread serves the queue meanwhile

    def _delivered(self, correlation: str, delivery: Delivery) -> None:
        if delivery.error is not None:
            self._settle(correlation, error=delivery.error)

    def _serve(self) -> None:
        look = 0.0
        while not self._closing:
            try:
                for record in self._reader.poll(POLL_S):
                    self._take(record)
                self._outbox.poll(0)
            except InfaasError as error:
                self._fail(error)
                return
            now = time.monotonic()
            if now >= look:
                look = now + LOOK_EVERY_S
                self._expire(now)

    def _take(self, record: Record) -> None:
        raw = record.header_map.get(CORRELATION[0])
        try:
            correlation = text(raw, CORRELATION[0])
        except InfaasError:
            return  # somebody else's
        if not correlation.startswith(self._name):
            return
        if correlation in self._open:
            self._settle(correlation, record=record)
        elif correlation in self._late:
            self._late.discard(correlation)
        else:
            self.duplicates += 1

    def _settle(self, correlation: str, *, record: Record | None = None, error: InfaasError | None = None) -> None:
        with self._lock:
            one = self._open.pop(correlation, None)
        if one is None or not one.future.set_running_or_notify_cancel():
            return
        if record is not None:
            one.future.set_result((record, (time.monotonic() - one.sent) * 1000.0))
        else:
            one.future.set_exception(error)

    def _expire(self, now: float) -> None:
        for correlation in [c for c, one in list(self._open.items()) if one.until <= now]:
            waited = now - self._open[correlation].sent
            self._late.add(correlation)
            what = f"no answer within {waited:.1f} s; `infaas status` shows whether routers and workers are there"
            self._settle(correlation, error=QueryTimeout(what))

    def _fail(self, error: InfaasError) -> None:
        with self._lock:
            self._closing = True
        for correlation in list(self._open):
            self._settle(correlation, error=error)
