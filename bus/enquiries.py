"""Questions about partitions, asked over connections on which nobody fetches.

A broker takes one request of a connection after the other, and a fetch that waits for records is one: what a consumer asks while
its partitions are empty is answered when its fetch has waited to its end. Nobody waits for that who begins a partition: meanwhile
its queries have nobody, and so have those of the partitions that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Consumer, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.commits import Commit, Place, ask_commits
from infaas.bus.partition_count import ask_partition_count
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import UnknownTopic


class Enquiries:
    """Asks what a group has committed, and what is in its topics; one thread calls it.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        group: full name.
        timeout_s: of a question.
    """

    def __init__(self, settings: BusSettings, *, client_id: str, group: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._consumer = Consumer(settings.consumer(client_id, group, reset="error", wait_ms=10))  # never assigned
        self._closed = False

    def learn(self, topic: str, partition: int) -> None:
        """Asks for a topic's partitions: what this client has not heard of it can't be asked about.

        Raises:
            UnknownTopic: there is no such partition yet.
            KafkaUnavailable: if the broker does not answer.
        """
        count = ask(
            lambda: ask_partition_count(self._consumer, topic, self._timeout_s), f"asking for {topic}", self._timeout_s
        )
        if partition >= count:
            raise UnknownTopic(f"{topic} has {count} partitions, not yet a partition {partition}")

    def commits(self, places: Iterable[Place]) -> dict[Place, Commit]:
        """What the group last committed there.

        Raises:
            KafkaUnavailable: if the broker does not answer.
        """
        return ask_commits(self._consumer, places, self._timeout_s)

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The low watermark and the end of a partition, asked of the broker.

        Raises:
            RetryableError: if it does not answer, or has no such partition yet.
        """
        where = TopicPartition(topic, partition)
        watermarks = ask(
            lambda: self._consumer.get_watermark_offsets(where, timeout=self._timeout_s),
            f"asking for the range of {topic}-{partition}",
            self._timeout_s,
        )
        return int(watermarks[0]), int(watermarks[1])

    def first_since(self, topic: str, partition: int, since_ms: int) -> int | None:
        """The first offset whose record is of that time or later, epoch ms; None = there is none.

        Raises:
            RetryableError: if the broker does not answer, or has no such partition yet.
        """
        where = TopicPartition(topic, partition, since_ms)
        offset = ask(
            lambda: self._consumer.offsets_for_times([where], timeout=self._timeout_s)[0].offset,
            f"asking for what is new in {topic}-{partition}",
            self._timeout_s,
        )
        return None if offset < 0 else offset

    def close(self) -> None:
        """Closes the connections; of those who share them whoever comes first."""
        if not self._closed:
            self._closed = True
            self._consumer.close()
