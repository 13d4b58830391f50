"""Replies on their way.

A reply whose address is wrong goes to the default topic, then to the dead letters; one that no broker takes now is tried
again. It always ends somewhere, and nothing is done before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.topic_sizes import TopicSizes
from infaas.schemas.errors import (
    InfaasError,
    KafkaUnavailable,
    PayloadTooLarge,
    ProducerFatal,
)
from infaas.schemas.headers import (
    OBJECTIVE_MET,
    OUTCOME,
    REASON,
    HeaderList,
    ReplyAddress,
)
from infaas.schemas.oip import encode_error
from infaas.schemas.topics import REPLIES

log = logging.getLogger(__name__)
AGAIN_S, AGAIN_MAX_S = 0.05, 1.0  # between attempts, doubled each time
ASK_S, ASK_AGAIN_S = 0.5, 1.0  # not long: other replies wait meanwhile
OFFLINE_MS = 300_000.0
GRACE_MS = 60_000.0


@dataclass(slots=True)
class Reply:
    """One reply on its way."""

    query_id: str
    address: ReplyAddress
    value: bytes
    headers: HeaderList
    key: bytes | None = None
    """The caller's, which may be empty; None = there was none, and the query id stands for it."""
    true_until_ms: float = math.inf
    """Until when what it says of its objective is so, epoch ms on the broker's clock: sent again later, it says that it is late."""
    until_ms: float = math.inf
    """When nobody wants it any more; infinite = five minutes after it was first sent."""

    @property
    def record_key(self) -> bytes:
        """The key of its record, from which the partition follows where none was asked for."""
        return self.query_id.encode() if self.key is None else self.key

    def at(self, now_ms: float) -> Reply:
        """The reply as it is sent at this moment."""
        if now_ms <= self.true_until_ms:
            return self
        headers = [(name, b"false" if name == OBJECTIVE_MET else value) for name, value in self.headers]
        return replace(self, headers=headers, true_until_ms=math.inf)


@dataclass(slots=True)
class _Sending:
    """A reply with where it goes now, and how long it is wanted there; called when it is known what became of it."""

    sender: ReplySender
    reply: Reply
    topic: str
    partition: int | None
    until_ms: float
    on_done: Callable[[], None] | None
    delay_s: float = AGAIN_S

    def __call__(self, delivery: Delivery) -> None:
        self.sender._finished(self, delivery)


class ReplySender:
    """Delivers replies: to the address, else to the default topic, else to the dead letters.

    1. An address that is wrong (no such topic or partition, not allowed, too large) is given up for the next one.
    2. A broker that does not answer is asked again, later and later, until nobody wants the reply any more: then it is a
       dead letter. A reply that goes again after its deadline says so.
    3. `on_done` comes with the broker's confirmation, of whichever topic; until then nothing may be committed past it.

    Args:
        outbox: of the service; what is to be sent again counts as pending there.
        settings: of the cell.
        dead_letters: the end of the line.
        grace_ms: how long every reply is tried at least: a caller who is told too late is better off than one who is not told.
    """

    def __init__(
        self, outbox: Outbox, settings: BusSettings, *, dead_letters: DeadLetters, grace_ms: float = GRACE_MS
    ) -> None:
        self._outbox, self._dead, self._grace_ms = outbox, dead_letters, grace_ms
        self._default = settings.names.of(REPLIES)
        self._sizes = TopicSizes(outbox, known_s=ASK_AGAIN_S, unknown_s=ASK_AGAIN_S, timeout_s=ASK_S)
        self.fallbacks = 0
        """Replies that did not go to their address."""

    def send(self, reply: Reply, on_done: Callable[[], None] | None = None) -> None:
        """Queues a reply; `on_done` is called when it is confirmed, wherever it ended.

        Raises:
            ProducerFatal: the process has to start again.
        """
        now_ms = self._outbox.clock.now_ms()
        until_ms = now_ms + OFFLINE_MS if math.isinf(reply.until_ms) else max(reply.until_ms, now_ms + self._grace_ms)
        address = reply.address
        self._attempt(_Sending(self, reply, address.topic or self._default, address.partition, until_ms, on_done))

    def _attempt(self, sending: _Sending) -> None:
        reply = sending.reply
        try:
            self._outbox.send(
                sending.topic,
                key=reply.record_key,
                value=reply.value,
                headers=reply.headers,
                partition=sending.partition,
                on_done=sending,
                stale_ms=reply.true_until_ms,
            )
        except ProducerFatal:
            raise
        except InfaasError as error:
            self._failed(sending, error)

    def _finished(self, sending: _Sending, delivery: Delivery) -> None:
        if delivery.error is not None:
            self._failed(sending, delivery.error)
        elif sending.on_done is not None:
            sending.on_done()

    def _failed(self, sending: _Sending, error: InfaasError) -> None:
        reply = sending.reply
        if isinstance(error, ProducerFatal):
            return  # the process ends, and the query comes again
        log.info("reply not delivered", extra={"query_id": reply.query_id, "topic": sending.topic, "error": str(error)})
        if error.retryable:
            self._later(sending, error)
        elif isinstance(error, PayloadTooLarge) and (small := _smaller(reply, error)) is not None:
            self._attempt(replace(sending, reply=small))
        else:
            self._give_up_address(sending, error)

    def _later(self, sending: _Sending, error: InfaasError) -> None:
        self._outbox.later(sending.delay_s, lambda: self._again(sending, error))

    def _again(self, sending: _Sending, error: InfaasError) -> None:
        """After `poll`, once the pause is over; `error` is what the last attempt failed of."""
        now_ms = self._outbox.clock.now_ms()
        sending = replace(sending, delay_s=min(2 * sending.delay_s, AGAIN_MAX_S), reply=sending.reply.at(now_ms))
        if now_ms > sending.until_ms:
            self._bury(sending, error)
            return
        if sending.topic == self._default and sending.partition is None:
            self._attempt(sending)
            return
        try:
            partitions = self._sizes.of(sending.topic)
        except KafkaUnavailable:
            self._later(sending, error)
            return
        if partitions == 0 or (sending.partition is not None and sending.partition >= partitions):
            self._give_up_address(sending, error)
        else:
            self._attempt(sending)

    def _give_up_address(self, sending: _Sending, error: InfaasError) -> None:
        self.fallbacks += 1
        if sending.topic == self._default and sending.partition is None:
            self._bury(sending, error)
        else:
            log.warning(
                "reply goes to the default topic",
                extra={"query_id": sending.reply.query_id, "topic": sending.topic, "error": str(error)},
            )
            self._attempt(replace(sending, topic=self._default, partition=None))

    def _bury(self, sending: _Sending, error: InfaasError) -> None:
        self._dead.put_raw(
            key=sending.reply.record_key,
            value=sending.reply.value,
            headers=sending.reply.headers,
            where=(sending.topic, -1, -1),
            stage="reply",
            cause=error,
            on_done=sending.on_done,
        )


def _smaller(reply: Reply, error: InfaasError) -> Reply | None:
    """An error in place of a reply that is too large; None if that is no smaller."""
    value = encode_error("too_large", f"the reply: {error}")
    return replace(reply, value=value, headers=_failed(reply.headers)) if len(value) < len(reply.value) else None


def _failed(headers: HeaderList) -> HeaderList:
    kept = [(name, value) for name, value in headers if name not in (OUTCOME, REASON)]
    return [*kept, (OUTCOME, b"failed"), (REASON, b"too_large")]
