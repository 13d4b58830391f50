"""Reading what stands in one partition between two offsets, without a group's assignment and without committing."""

from __future__ import annotations

import logging
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

from infaas.bus.errors import translate
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import KafkaUnavailable

log = logging.getLogger(__name__)
BATCH = 1000


class SpanReader:
    """Reads spans of partitions, one after the other."""

    def __init__(self, settings: BusSettings, *, client_id: str) -> None:
        self._consumer = Consumer(
            settings.consumer(client_id, settings.names.group(f"span-{client_id}"), reset="error", wait_ms=50),
            logger=log,
        )

    def read(self, topic: str, partition: int, start: int, end: int, *, timeout: float = 10.0) -> list[Record]:
        """Records from `start` up to, not including, `end`; fewer only where the topic has none (compacted, transactions).

        Raises:
            OffsetLost: if `start` is below the low watermark.
            KafkaUnavailable: if they can't be read in time.
        """
        out: list[Record] = []
        deadline = time.monotonic() + timeout
        self._consumer.assign([TopicPartition(topic, partition, start)])
        try:
            at = start
            while at < end:
                for message in self._consumer.consume(BATCH, 0.1):
                    error = message.error()
                    if error is not None:
                        if error.code() != KafkaError._PARTITION_EOF:
                            raise translate(error, f"reading {topic}-{partition}")
                        continue
                    record = Record(message)
                    at = record.offset + 1
                    if record.offset < end:
                        out.append(record)
                position = self._consumer.position([TopicPartition(topic, partition)])[0].offset
                at = max(at, position)
                if time.monotonic() > deadline:
                    raise KafkaUnavailable(f"{topic}-{partition}: read up to {at} of {end} in {timeout:g} s")
        finally:
            self._consumer.unassign()
        return out

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()
