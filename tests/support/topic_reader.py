"""Everything in a topic, from its beginning: what a test looks for may be in any partition."""

from __future__ import annotations

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from infaas.bus.record import Record


class TopicReader:
    """Reads all partitions of a topic; `records` is all that came so far.

    Args:
        settings: of the cell.
        topic: its full name.
    """

    def __init__(self, settings, topic: str) -> None:
        self._consumer = Consumer(
            settings.consumer(f"look-{topic}", settings.names.group(f"look-{topic}"), reset="error", wait_ms=50)
        )
        partitions = self._consumer.list_topics(topic, 10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        self.records: list[Record] = []

    def step(self) -> None:
        """Takes what is there."""
        for message in self._consumer.consume(1000, 0.01):
            assert message.error() is None, message.error()
            self.records.append(Record(message))

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()
