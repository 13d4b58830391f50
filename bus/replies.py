"""Replies: checked addresses out, one partition in.

A reply that can't be delivered to its address goes to the default topic, then to the dead letters: it always ends somewhere.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.errors import translate
from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import BadReplyAddress, DeliveryFailed, InfaasError, PayloadTooLarge
from infaas.schemas.headers import OUTCOME, REASON, REPLY_TO, REPLY_TO_PARTITION, HeaderList, ReplyAddress
from infaas.schemas.oip import encode_error
from infaas.schemas.topics import REPLIES

log = logging.getLogger(__name__)
KNOWN_FOR_S = 30.0
UNKNOWN_FOR_S = 2.0
KAFKA_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply on its way."""

    query_id: str
    address: ReplyAddress
    value: bytes
    headers: HeaderList


class ReplyAddresses:
    """Says whether a reply may go where a caller wants it.

    Args:
        outbox: asked for topics.
        settings: of the cell.
        allowed: pattern a topic's full name has to match; None = any that is not internal.
    """

    def __init__(self, outbox: Outbox, settings: BusSettings, *, allowed: str | None = None) -> None:
        self._outbox, self._names = outbox, settings.names
        self._default = settings.names.of(REPLIES)
        self._allowed = re.compile(allowed) if allowed else None
        self._known: dict[str, tuple[int, float]] = {}

    def check(self, address: ReplyAddress) -> ReplyAddress:
        """Returns the address with its topic filled in.

        Raises:
            BadReplyAddress: naming the header and what is wrong.
        """
        topic = self._default if address.topic is None else address.topic
        if topic != self._default:
            if not KAFKA_NAME.fullmatch(topic):
                raise BadReplyAddress(REPLY_TO[0], "a topic's name", topic)
            if self._names.is_internal(topic):
                raise BadReplyAddress(REPLY_TO[0], "a topic that is not internal", topic)
            if self._allowed is not None and not self._allowed.fullmatch(topic):
                raise BadReplyAddress(REPLY_TO[0], f"a topic that matches {self._allowed.pattern}", topic)
        if topic == self._default and address.partition is None:
            return ReplyAddress(topic)
        partitions = self._partitions(topic)
        if partitions == 0:
            raise BadReplyAddress(REPLY_TO[0], "a topic that exists", topic)
        if address.partition is not None and not 0 <= address.partition < partitions:
            raise BadReplyAddress(REPLY_TO_PARTITION[0], f"a partition from 0 to {partitions - 1}", address.partition)
        return ReplyAddress(topic, address.partition)

    def _partitions(self, topic: str) -> int:
        now = time.monotonic()
        found, until = self._known.get(topic, (0, 0.0))
        if now >= until:
            found = self._outbox.learn(topic)
            if len(self._known) > 10_000:  # callers choose these names: bounded
                self._known.clear()
            self._known[topic] = (found, now + (KNOWN_FOR_S if found else UNKNOWN_FOR_S))
        return found


class ReplySender:
    """Delivers replies: to the address, else to the default topic, else to the dead letters."""

    def __init__(self, outbox: Outbox, settings: BusSettings, *, dead_letters: DeadLetters) -> None:
        self._outbox, self._dead = outbox, dead_letters
        self._default = settings.names.of(REPLIES)
        self.fallbacks = 0
        """Replies that did not go to their address."""

    def send(self, reply: Reply, on_done: Callable[[], None] | None = None) -> None:
        """Queues a reply; `on_done` is called when it is confirmed, wherever it ended.

        Raises:
            ProducerFatal: the process has to start anew.
        """
        self._attempt(reply, reply.address.topic or self._default, reply.address.partition, on_done)

    def _attempt(self, reply: Reply, topic: str, partition: int | None, on_done: Callable[[], None] | None) -> None:
        def finished(delivery: Delivery) -> None:
            if delivery.error is None:
                if on_done is not None:
                    on_done()
            else:
                self._next(reply, topic, partition, delivery.error, on_done)

        try:
            self._outbox.send(
                topic,
                key=reply.query_id,
                value=reply.value,
                headers=reply.headers,
                partition=partition,
                on_done=finished,
            )
        except (PayloadTooLarge, DeliveryFailed) as error:
            self._next(reply, topic, partition, error, on_done)

    def _next(
        self, reply: Reply, topic: str, partition: int | None, error: InfaasError, on_done: Callable[[], None] | None
    ) -> None:
        self.fallbacks += 1
        log.warning("reply not delivered", extra={"query_id": reply.query_id, "topic": topic, "error": str(error)})
        if isinstance(error, PayloadTooLarge):
            small = Reply(
                reply.query_id, reply.address, encode_error("too_large", f"the reply: {error}"), _failed(reply.headers)
            )
            if len(small.value) < len(reply.value):
                self._attempt(small, topic, partition, on_done)
                return
        if topic != self._default or partition is not None:
            self._attempt(reply, self._default, None, on_done)
            return
        self._dead.put_raw(
            key=reply.query_id.encode(),
            value=reply.value,
            headers=reply.headers,
            where=(topic, -1, -1),
            stage="reply",
            cause=error,
            on_done=on_done,
        )


def _failed(headers: HeaderList) -> HeaderList:
    kept = [(name, value) for name, value in headers if name not in (OUTCOME, REASON)]
    return [*kept, (OUTCOME, b"failed"), (REASON, b"too_large")]


class ReplyReader:
    """A caller's own end: one partition of the reply topic, from its end as of now.

    The constructor returns when the position is fixed, so a query sent afterwards can't be answered before it.
    """

    def __init__(
        self, settings: BusSettings, *, client_id: str, topic: str | None = None, timeout: float = 10.0
    ) -> None:
        self.topic = topic or settings.names.of(REPLIES)
        self._consumer = Consumer(
            settings.consumer(client_id, settings.names.group(f"replies-{client_id}"), reset="error", wait_ms=500),
            logger=log,
        )
        doing = f"reading {self.topic}"
        found = ask(lambda: self._consumer.list_topics(self.topic, timeout).topics[self.topic], doing, timeout)
        if found.error is not None or not found.partitions:
            raise BadReplyAddress("topic", "a topic that exists; `infaas topics ensure` makes the system's", self.topic)
        self.partition = random.choice(sorted(found.partitions))
        where = TopicPartition(self.topic, self.partition)
        _, end = ask(lambda: self._consumer.get_watermark_offsets(where, timeout=timeout), doing, timeout)
        where.offset = end
        self._consumer.assign([where])

    def address_headers(self) -> HeaderList:
        """The headers that make replies come here."""
        return [(REPLY_TO[0], self.topic.encode()), (REPLY_TO_PARTITION[0], str(self.partition).encode())]

    def poll(self, timeout: float = 0.0) -> list[Record]:
        """What came, waiting at most `timeout` s for the first; other callers' replies are among it."""
        message = self._consumer.poll(timeout)
        if message is None:
            return []
        out = []
        for one in [message, *self._consumer.consume(1000, 0)]:
            error = one.error()
            if error is None:
                out.append(Record(one))
            elif error.code() != KafkaError._PARTITION_EOF:
                log.warning("reading replies", extra={"error": str(translate(error))})
        return out

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()
