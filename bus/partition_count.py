"""How many partitions a topic has, asked of the cluster."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from infaas.bus.errors import translate
from infaas.schemas.errors import UnknownTopic


def ask_partition_count(client: AdminClient | Consumer | Producer, topic: str, timeout: float) -> int:
    """Partitions of a topic; 0 = there is none of this name, or none that we may see.

    Raises:
        KafkaException: no broker answers, or the cluster can't say yet, which is not the same as no such topic.
    """
    metadata = client.list_topics(topic, timeout=timeout).topics.get(topic)
    if metadata is None:
        return 0
    if metadata.error is not None:
        ours = translate(metadata.error)
        if ours.retryable and not isinstance(ours, UnknownTopic):
            raise KafkaException(metadata.error)
        return 0
    return len(metadata.partitions)
