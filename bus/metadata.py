"""What the cluster says of one topic."""

from __future__ import annotations

from confluent_kafka.admin import TopicMetadata

from infaas.bus.errors import translate
from infaas.schemas.errors import UnknownTopic


def counted(metadata: TopicMetadata | None, topic: str) -> int:
    """Partitions of a topic; 0 = there is none of this name, or none that we may see.

    Raises:
        KafkaUnavailable: the cluster can't say yet; it is not the same as no such topic.
    """
    if metadata is None:
        return 0
    if metadata.error is not None:
        ours = translate(metadata.error, f"asking for {topic}")
        if ours.retryable and not isinstance(ours, UnknownTopic):
            raise ours
        return 0
    return len(metadata.partitions)
