"""Questions about the partitions of the work topics, asked over connections on which nobody fetches.

A broker takes one request of a connection after the other, and a fetch that waits for records is one: what a consumer asks while
its partitions are empty is answered when its fetch has waited to its end. Nobody waits for that who begins a partition: meanwhile
its queries have nobody, and so have those of the partitions that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Consumer, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.commits import Commit, ask_commits
from infaas.bus.partition_count import ask_partition_count
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import UnknownTopic
from infaas.schemas.topics import WORK_GROUP

ASK_TIMEOUT_S = 2.0
"""Of a question: an instance has to say something more often than every five seconds."""


class Enquiries:
    """Asks what the work group has committed, and what is in its topics; one thread calls it.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
    """

    def __init__(self, settings: BusSettings, *, client_id: str) -> None:
        group = settings.names.group(WORK_GROUP)
        self._consumer = Consumer(settings.consumer(client_id, group, reset="error", wait_ms=10))  # never assigned
        self._closed = False

    def learn(self, topic: str, partition: int) -> None:
        """Asks for a topic's partitions: what this client has not heard of it can't be asked about.

        Raises:
            UnknownTopic: there is no such partition yet.
            KafkaUnavailable: if the broker does not answer.
        """
        count = ask(
            lambda: ask_partition_count(self._consumer, topic, ASK_TIMEOUT_S), f"asking for {topic}", ASK_TIMEOUT_S
        )
        if partition >= count:
            raise UnknownTopic(f"{topic} has {count} partitions, not yet a partition {partition}")

    def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, Commit]:
        """What the group last committed for these partitions.

        Raises:
            KafkaUnavailable: if the broker does not answer.
        """
        places = [(topic, partition) for partition in partitions]
        commits = ask_commits(self._consumer, places, ASK_TIMEOUT_S)
        return {partition: commit for (_, partition), commit in commits.items()}

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The low watermark and the end of a partition, asked of the broker.

        Raises:
            RetryableError: if it does not answer, or has no such partition yet.
        """
        where = TopicPartition(topic, partition)
        watermarks = ask(
            lambda: self._consumer.get_watermark_offsets(where, timeout=ASK_TIMEOUT_S),
            f"asking for the end of {topic}-{partition}",
            ASK_TIMEOUT_S,
        )
        return int(watermarks[0]), int(watermarks[1])

    def close(self) -> None:
        """Closes the connections; of those who share them whoever comes first."""
        if not self._closed:
            self._closed = True
            self._consumer.close()
