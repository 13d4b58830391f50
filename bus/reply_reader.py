"""A caller's end: one partition of a reply topic."""

from __future__ import annotations

import logging
import random

from confluent_kafka import Consumer, KafkaError, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.errors import translate
from infaas.bus.partition_count import ask_partition_count
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import BadReplyAddress
from infaas.schemas.headers import REPLY_TO, REPLY_TO_PARTITION, HeaderList
from infaas.schemas.topics import REPLIES

log = logging.getLogger(__name__)


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
        count = ask(lambda: ask_partition_count(self._consumer, self.topic, timeout), doing, timeout)
        if not count:
            raise BadReplyAddress("topic", "a topic that exists; `infaas topics ensure` makes the system's", self.topic)
        self.partition = random.randrange(count)
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
        for arrived in [message, *self._consumer.consume(1000, 0)]:
            error = arrived.error()
            if error is None:
                out.append(Record(arrived))
            elif error.code() != KafkaError._PARTITION_EOF:
                log.warning("reading replies", extra={"error": str(translate(error))})
        return out

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()
