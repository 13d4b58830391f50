"""What a group has committed, asked through one of its consumers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infaas.bus.ask import ask

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset; None = nobody ever committed, so the start is the low watermark."""

    offset: int | None
    metadata: str = ""


def ask_commits(consumer: Consumer, places: Iterable[Place], timeout: float) -> dict[Place, Commit]:
    """The commits of the consumer's group.

    Raises:
        InfaasError: if one of them can't be told in time, which is not the same as that there is none.
    """
    asked = [TopicPartition(*place) for place in places]

    def question() -> dict[Place, Commit]:
        out = {}
        for found in consumer.committed(asked, timeout=timeout) if asked else []:
            if found.error is not None:
                raise KafkaException(found.error)
            offset = found.offset if found.offset >= 0 else None
            out[found.topic, found.partition] = Commit(offset, str(found.metadata or ""))
        return out

    return ask(question, "asking for commits", timeout)
