"""The producer: every record sent is confirmed or reported as failed, to the one who sent it.

Callbacks run in whoever calls `poll` or `flush`, after the client's own poll has returned, one after the other and never one
inside another. So a callback may send: where the local queue is full, `send` waits for room, and what is reported meanwhile
is told later. What has to be tried again is put off with `later`, which counts as pending: an intake that pauses on `pending`
so bounds it. Many threads may `send` and `learn`; all else is for one of them.

The client sends what it is given at once, and what comes meanwhile in the next request. Whoever makes records one after the other,
each in longer than a request takes, so pays for a request each, and the broker and whoever reads them do too: what is made within
`together` is given to it in one go.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from infaas.bus.clock import STAMP_MS, BrokerClock
from infaas.bus.errors import translate, translated
from infaas.bus.partition_count import ask_partition_count
from infaas.bus.settings import BusSettings
from infaas.bus.unconfirmed import Unconfirmed
from infaas.schemas.errors import DeliveryFailed, InfaasError, KafkaRefused, ProducerFatal, QueueFull
from infaas.schemas.headers import HeaderList

log = logging.getLogger(__name__)
ANY_PARTITION = -1  # by the key's hash
FULL_S = 0.01
STALL_S = 0.5
"""Nothing confirmed for so long: the broker is away, or as good as."""
LOOK_EVERY_S = 0.1
OBSERVE_EVERY_S = 0.005
"""How often the clock learns from a report once it is known well: then each says what the one before said."""
WIDE_MS = 5.0
ALONE_S = 0.005
"""How long the one producer is waited for while the other has something on its way."""


class Delivery(NamedTuple):
    """What became of a record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: float
    error: InfaasError | None = None
    took_s: float = 0.0
    """From when it was sent to its report."""


class _Sent:
    """A record whose report is awaited; the client calls it."""

    __slots__ = ("_outbox", "alone", "number", "on_done", "sent_s")

    def __init__(
        self, outbox: Outbox, number: int, sent_s: float, on_done: Callable[[Delivery], None] | None, *, alone: bool
    ) -> None:
        self._outbox, self.number, self.sent_s, self.on_done, self.alone = outbox, number, sent_s, on_done, alone

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._outbox._report(self, error, message)


_Record = tuple[str, bytes | None, bytes | str | None, int, _Sent, Any]
"""Topic, value, key, partition, whom to tell, headers."""


class Outbox:
    """One idempotent producer with bounded queues.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        clock: learns from the delivery reports; None = a new one.
    """

    def __init__(self, settings: BusSettings, *, client_id: str, clock: BrokerClock | None = None) -> None:
        self.clock = clock or BrokerClock()
        self._fatal: str | None = None
        self._told: deque[tuple[Callable[[Delivery], None], Delivery]] = deque()
        self._telling = False
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._together: list[_Record] | None = None
        self._sequence = count()
        self._unconfirmed = Unconfirmed()
        self._next_look_s = self._observe_at_s = 0.0
        self._settings = {**settings.producer(client_id), "error_cb": self._on_error}
        self._producer = Producer(self._settings, logger=log)
        self._alone: Producer | None = None
        self._making = threading.Lock()

    def send(self, topic: str, *, value: bytes | None, key: bytes | str | None = None, headers: HeaderList | None = None,
             partition: int | None = None, on_done: Callable[[Delivery], None] | None = None, wait: bool = True,
             stale_ms: float = math.inf, alone: bool = False) -> None:  # fmt: skip
        """Queues a record; `on_done` hears of it exactly once, in `poll` or `flush`, unless this raises.

        Waits while the local queue is full, which is not for ever: what can't be delivered in time makes room. What says
        something that is no longer true after `stale_ms` (epoch ms, the broker's clock) is not kept for a broker that is
        away beyond that: it is reported as not delivered. What goes `alone` keeps its order with what else does.

        Raises:
            QueueFull: the local queue is full, and `wait` is false.
            PayloadTooLarge: above what any topic takes.
            UnknownTopic: the partition is not known; `learn` the topic.
            KafkaRefused: the client does not take it, such as a header that is no bytes.
            ProducerFatal: the process has to start again.
        """
        if self._fatal is not None:
            raise ProducerFatal(self._fatal)
        sent_s = self.clock.monotonic()
        report = _Sent(self, self._unconfirmed.begin(sent_s, stale_ms), sent_s, on_done, alone=alone)
        record = (topic, value, key, ANY_PARTITION if partition is None else partition, report, headers or None)
        if self._together is None:
            self._queue(record, wait=wait)
        else:
            self._together.append(record)

    def _queue(self, record: _Record, *, wait: bool) -> None:
        try:
            while not self._produce(record):
                self._wait_for_room(record[0], wait=wait)
        except BaseException:
            report = record[4]
            self._unconfirmed.withdraw(report.number, report.sent_s)
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is sent within goes out at the end of it, one after the other; what `send` would raise is told as a report.

        For an outbox of one thread.

        Raises:
            ProducerFatal: the process has to start again.
        """
        self._together = []
        try:
            yield
        finally:
            records, self._together = self._together, None
            for record in records:
                try:
                    self._queue(record, wait=True)
                except ProducerFatal:
                    raise
                except InfaasError as error:
                    topic, _, _, partition, report, _ = record
                    if report.on_done is not None:
                        self._told.append((report.on_done, Delivery(topic, partition, -1, 0.0, error)))

    def _wait_for_room(self, topic: str, *, wait: bool) -> None:
        if not wait:
            raise QueueFull(f"producing to {topic}: the local queue is full")
        self._serve(FULL_S)
        if self._fatal is not None:
            raise ProducerFatal(self._fatal)

    def _produce(self, record: _Record) -> bool:
        """Queues a record; False if there is no room."""
        topic, value, key, partition, report, headers = record
        producer = self._by_itself() if report.alone else self._producer
        try:
            producer.produce(topic, value, key, partition, report, headers=headers)  # by place: by name costs more
        except BufferError:
            return False
        except KafkaException as error:
            raise translate(error, f"producing to {topic}") from error
        except Exception as error:
            raise KafkaRefused(f"producing to {topic}: {type(error).__name__}: {error}") from error
        return True

    def _by_itself(self) -> Producer:
        with self._making:
            if self._alone is None:
                # As many on their way as keep their order, for each is a request.
                single = {"batch.num.messages": 1, "max.in.flight.requests.per.connection": 5}
                self._alone = Producer({**self._settings, **single}, logger=log)
            return self._alone

    @property
    def _producers(self) -> tuple[Producer, ...]:
        return (self._producer,) if self._alone is None else (self._producer, self._alone)

    def _report(self, sent: _Sent, error: KafkaError | None, message: Message) -> None:
        kind, stamp = message.timestamp()
        now_s = self.clock.monotonic()
        ours = None
        if error is None:
            wide, took_s = self.clock.error_ms > WIDE_MS, now_s - sent.sent_s
            if (wide or now_s >= self._observe_at_s) and kind == TIMESTAMP_LOG_APPEND_TIME:
                self._observe_at_s = now_s + OBSERVE_EVERY_S
                self.clock.observe(sent.sent_s, now_s, float(stamp))
            if not wide and kind == TIMESTAMP_LOG_APPEND_TIME:  # we may look long after it stands there
                stood_ms = float(stamp) - self.clock.at_ms(sent.sent_s) + STAMP_MS
                took_s = min(took_s, max(0.0, stood_ms) / 1000.0)
            self._unconfirmed.confirm(sent.number, sent.sent_s, now_s, took_s)
        else:
            self._unconfirmed.fail(sent.number)
            ours = translate(error)
            if isinstance(ours, ProducerFatal):
                self._fatal = str(ours)
        if sent.on_done is not None:
            partition, offset = message.partition(), message.offset()
            delivery = Delivery(
                message.topic() or "",
                -1 if partition is None else partition,
                -1 if offset is None else offset,
                float(stamp),
                ours,
                now_s - sent.sent_s,
            )
            self._told.append((sent.on_done, delivery))

    @property
    def delivery_ms(self) -> float:
        """How long a record sent now may take to be in its topic: as the slowest of late, or as long as nothing is confirmed."""
        return self._unconfirmed.delivery_s(self.clock.monotonic()) * 1000.0

    def _take_back(self) -> None:
        """Of a broker that is away: what would be stale when it is there again."""
        now_s = self.clock.monotonic()
        if now_s < self._next_look_s or self._unconfirmed.silent_s(now_s) <= STALL_S:
            return
        self._next_look_s = now_s + LOOK_EVERY_S
        if self._unconfirmed.any_stale(self.clock.now_ms()):
            for producer in self._producers:
                producer.purge(in_queue=True, in_flight=False, blocking=False)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Has `poll` or `flush` call `act` once, in `delay_s` s at the earliest; it is dropped if the outbox is closed before."""
        heappush(self._later, (time.monotonic() + delay_s, next(self._sequence), act))

    def _tell(self) -> None:
        """Calls back what was reported or is due; not from within a callback, for whom the one outside goes on."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._told:
                on_done, delivery = self._told.popleft()
                on_done(delivery)
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heappop(self._later)[2]()
            if not self._later:
                self._unconfirmed.rest()
        finally:
            self._telling = False

    def _idle_s(self, timeout: float) -> float:
        """How long a poll may wait: not beyond what is due."""
        if self._told:
            return 0.0
        return max(0.0, min(timeout, self._later[0][0] - time.monotonic())) if self._later else timeout

    def _serve(self, timeout: float, *, flush: bool = False) -> None:
        """Serves the client's callbacks; of a fatal error it calls none, but raises."""
        try:
            if self._alone is not None:
                self._alone.poll(0)
                if self._told:
                    timeout = 0.0  # else it would be told when the other producer has something to say, or never
                elif len(self._alone):
                    timeout = min(timeout, ALONE_S)
            if flush:
                self._producer.flush(timeout)
            else:
                self._producer.poll(timeout)
        except KafkaException as error:
            self._fatal = str(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # not every version of the client raises it
            self._fatal = str(error)
        else:
            log.debug("kafka client", extra={"error": str(error)})

    def learn(self, topic: str, timeout: float = 5.0) -> int:
        """Asks for a topic's partitions, without which a warm producer refuses new ones; 0 = no such topic.

        Raises:
            KafkaUnavailable: if no broker answers.
        """
        with translated(f"asking for {topic}"):
            return min(ask_partition_count(producer, topic, timeout) for producer in self._producers)

    def poll(self, timeout: float = 0.0) -> None:
        """Serves delivery reports, and what was put off until now.

        Raises:
            ProducerFatal: the process has to start again.
        """
        self._take_back()
        self._serve(self._idle_s(timeout))
        self._tell()
        if self._fatal is not None:
            raise ProducerFatal(self._fatal)

    def send_and_wait(self, topic: str, *, value: bytes | None, key: bytes | str | None = None,
                      headers: HeaderList | None = None, partition: int | None = None, timeout: float = 10.0) -> Delivery:  # fmt: skip
        """Sends one record and waits until it is confirmed.

        Raises:
            DeliveryFailed: if it is not, in time.
        """
        done: list[Delivery] = []
        self.send(topic, value=value, key=key, headers=headers, partition=partition, on_done=done.append)
        deadline = time.monotonic() + timeout
        while not done and time.monotonic() < deadline:
            self.poll(0.01)
        if not done:
            raise DeliveryFailed(f"{topic}: not confirmed in {timeout:g} s")
        if done[0].error is not None:
            raise done[0].error
        return done[0]

    def flush(self, timeout: float) -> int:
        """Waits for everything sent, for what callbacks send, and what is put off; returns how many records are left."""
        deadline = time.monotonic() + timeout
        while True:
            self._serve(self._idle_s(max(0.0, deadline - time.monotonic())), flush=True)
            self._tell()
            left = deadline - time.monotonic()
            if not self.pending or left <= 0:
                return self.pending
            if not len(self._producer):
                self._serve(self._idle_s(left))

    @property
    def unconfirmed(self) -> int:
        """Records whose report has not come yet."""
        return len(self._unconfirmed)

    @property
    def pending(self) -> int:
        """Records queued, in flight or put off, and reports not yet served."""
        alone = 0 if self._alone is None else len(self._alone)
        return len(self._producer) + alone + len(self._told) + len(self._later)

    def close(self, timeout: float = 5.0) -> None:
        """Flushes, then reports what is left as failed."""
        if self.flush(timeout):
            for producer in self._producers:
                producer.purge()
            self._serve(1.0, flush=True)
            self._tell()
