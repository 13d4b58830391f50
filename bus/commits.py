"""What a group has committed, asked through one of its consumers."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from infaas.bus.ask import ask


def ask_commits(consumer: Consumer, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
    """The commits of the consumer's group; the offset is OFFSET_INVALID where there is none.

    Raises:
        InfaasError: if one of them can't be told in time, which is not the same as that there is none.
    """

    def question() -> list[TopicPartition]:
        found = list(consumer.committed(list(places), timeout=timeout)) if places else []
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
            if place.offset < 0:
                place.offset = OFFSET_INVALID
        return found

    return ask(question, "asking for commits", timeout)
