"""A plain Kafka client that asks and times: one producer, one consumer, one thread; the same for every side of a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from infaas.bus.admin import Admin
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import CORRELATION, REPLY_TO, REPLY_TO_PARTITION, HeaderList

SILENT_S = 20.0
"""No reply for so long while some are awaited: the side has stopped."""
MOST = 1000
TICK_S = 0.001


class PlainClient:
    """Asks one topic, and times each reply from just before its query was produced.

    Args:
        settings: of the cell.
        topic: of the queries.
        replies: topic of the replies, of this client alone, with one partition.
        value: of each query.
        headers: of each query, besides those of the reply.
    """

    def __init__(self, settings: BusSettings, *, topic: str, replies: str, value: bytes, headers: HeaderList) -> None:
        self._topic, self._value = topic, value
        self._producer = Producer(settings.producer(f"plain-{topic}"))
        self._consumer = Consumer(settings.consumer(f"plain-{topic}", f"plain-{replies}", reset="error", wait_ms=100))
        self._consumer.assign([TopicPartition(replies, 0, 0)])
        self._headers = [*headers, (REPLY_TO[0], replies.encode()), (REPLY_TO_PARTITION[0], b"0")]
        self._numbers = count()
        self._sent: dict[bytes, float] = {}
        self.outcomes: dict[str, int] = {}
        """Replies by what their header `infaas-outcome` says."""

    @staticmethod
    def make_topic(settings: BusSettings, name: str) -> str:
        """A topic with one partition, outside the system's own; returns its full name."""
        admin = Admin(settings, client_id="bench")
        try:
            admin.make_topics({name: 1})
        finally:
            admin.close()
        return name

    def singles(self, number: int) -> list[float]:
        """One after the other; ms each."""
        out: list[float] = []
        for _ in range(number):
            self._send(time.perf_counter())
            out += self._await(1)
        return out

    def paced(self, rate: float, seconds: float) -> list[float]:
        """Open loop: each at its moment, whatever has become of the others; ms each, from the moment it was due."""
        out: list[float] = []
        begun, total, sent = time.perf_counter(), int(rate * seconds), 0
        while sent < total:
            due = begun + sent / rate
            now = time.perf_counter()
            if now >= due:
                self._send(due)
                sent += 1
                if sent % 16 == 0:
                    self._producer.poll(0)
            else:
                out += self._until(due - now)
        return out + self._await(total - len(out))

    def closed(self, in_flight: int, number: int) -> float:
        """Keeps so many in flight; queries/s."""
        begun, sent, done = time.perf_counter(), 0, 0
        while done < number:
            now = time.perf_counter()
            while sent < number and sent - done < in_flight:
                self._send(now)
                sent += 1
            done += len(self._await(1))
        return number / (time.perf_counter() - begun)

    def burst(self, number: int) -> float:
        """All at once; queries/s until the last reply."""
        begun = time.perf_counter()
        for _ in range(number):
            self._send(begun)
        self._await(number)
        return number / (time.perf_counter() - begun)

    def close(self) -> None:
        """Leaves."""
        self._producer.flush(5)
        self._consumer.close()

    def _send(self, moment: float) -> None:
        number = next(self._numbers)
        name = number.to_bytes(8, "big")
        self._sent[name] = moment
        produce: Callable[..., None] = self._producer.produce
        produce(
            self._topic,
            value=self._value,
            headers=[*self._headers, (CORRELATION[0], name)],
        )

    def _await(self, number: int) -> list[float]:
        """At least so many replies."""
        out: list[float] = []
        heard = time.perf_counter()
        while len(out) < number:
            got = self._receive(0.05)
            if got:
                heard = time.perf_counter()
            elif time.perf_counter() - heard > SILENT_S:
                raise InfaasError(f"{self._topic}: no reply for {SILENT_S:g} s, {len(self._sent)} are awaited")
            out += got
        return out

    def _until(self, left_s: float) -> list[float]:
        """Receives for so long. The client counts in whole ms and takes less for none: what is left of one is slept, not spun away."""
        if left_s >= TICK_S:
            return self._receive(left_s)
        time.sleep(left_s)
        return self._receive(0.0)

    def _receive(self, timeout: float) -> list[float]:
        self._producer.poll(0)
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        now = time.perf_counter()
        out = []
        for message in (first, *self._consumer.consume(MOST, 0)):
            headers: dict[str, Any] = dict(message.headers() or [])
            begun = self._sent.pop(headers.get(CORRELATION[0], b""), None)
            if begun is not None:
                out.append((now - begun) * 1000.0)
                outcome = headers.get("infaas-outcome", b"ok").decode()
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        return out
