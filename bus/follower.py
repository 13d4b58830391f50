"""Following one partition from its beginning: everything up to its end as of now, then what comes.

No group, nothing committed. A position that is no longer in the topic is an event (`OffsetLost`), never a silent jump.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import partial

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.errors import translate
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import KafkaUnavailable, OffsetLost

log = logging.getLogger(__name__)
BATCH = 10_000
WAIT_MS = 500  # data ends a wait at once, and this partition is the only one that is fetched: a long one delays nothing


class Follower:
    """Reads partition 0 of a control topic; one thread calls it.

    Args:
        settings: of the cell.
        topic: full name.
        client_id: shown by the broker.
    """

    def __init__(self, settings: BusSettings, *, topic: str, client_id: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            settings.consumer(client_id, settings.names.group(f"view-{client_id}"), reset="error", wait_ms=WAIT_MS),
            logger=log,
        )

    def replay(self, timeout: float) -> Iterator[Record]:
        """Yields the whole topic up to its end as of now.

        Raises:
            KafkaUnavailable: if that takes longer than `timeout` s.
        """
        deadline = time.monotonic() + timeout
        where = TopicPartition(self._topic, 0, OFFSET_BEGINNING)
        end = self.end(timeout)
        self._consumer.assign([where])
        at = 0
        while at < end:
            for record in self._accept(self._fetch(0.05)):
                at = record.offset + 1
                yield record
            # Compaction may have taken the last records below the end: the position passes them all the same.
            at = max(at, self._consumer.position([where])[0].offset)
            if time.monotonic() > deadline:
                raise KafkaUnavailable(f"{self._topic}: read up to {at} of {end} in {timeout:g} s")

    def end(self, timeout: float) -> int:
        """The topic's end now, as the broker says.

        Raises:
            KafkaUnavailable: if none answers in time.
        """
        where = TopicPartition(self._topic, 0)
        question = partial(self._consumer.get_watermark_offsets, where, timeout=timeout)
        return int(ask(question, f"reading {self._topic}", timeout)[1])

    @property
    def position(self) -> int:
        """The offset of the next record, past what compaction has taken."""
        return int(self._consumer.position([TopicPartition(self._topic, 0)])[0].offset)

    def poll(self, timeout: float = 0.0) -> Iterator[Record]:
        """What is new, waiting at most `timeout` s for the first record.

        Raises:
            OffsetLost: the position is no longer in the topic.
        """
        yield from self._accept(self._fetch(timeout))

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()

    def _fetch(self, timeout: float) -> list[Message]:
        first = self._consumer.poll(timeout)
        return [] if first is None else [first, *self._consumer.consume(BATCH, 0)]

    def _accept(self, messages: list[Message]) -> Iterator[Record]:
        for message in messages:
            error = message.error()
            if error is None:
                yield Record(message)
                continue
            ours = translate(error, f"reading {self._topic}")
            if isinstance(ours, OffsetLost):
                raise ours
            if error.code() != KafkaError._PARTITION_EOF:
                log.warning("reading", extra={"topic": self._topic, "error": str(ours)})
