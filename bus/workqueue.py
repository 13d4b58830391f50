"""The work queue of one instance: partitions it was told to own, from where the owner before it had committed.

Only `assign()` is ever used in this group, so the group fences nobody: who owns a partition is decided in the metadata
store, and a commit overwrites whatever was there. The commit's metadata string carries the poison mark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.errors import translate
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError, OffsetLost
from infaas.schemas.topics import WORK_GROUP

log = logging.getLogger(__name__)
ASK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset; None = nobody ever committed, so the start is the low watermark."""

    offset: int | None
    metadata: str = ""


class WorkQueue:
    """Consumes partitions by `assign()`, with explicit starts and commits.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        wait_ms: longest fetch; a newly assigned partition may wait this long for the fetch before it.
    """

    def __init__(self, settings: BusSettings, *, client_id: str, wait_ms: int = 10) -> None:
        group = settings.names.group(WORK_GROUP)
        self._assigned: set[tuple[str, int]] = set()
        self._errors: list[InfaasError] = []
        self._consumer = Consumer(settings.consumer(client_id, group, reset="error", wait_ms=wait_ms), logger=log)

    def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, Commit]:
        """What the group last committed for these partitions.

        Raises:
            KafkaUnavailable: if the broker does not answer.
        """
        asked = [TopicPartition(topic, partition) for partition in partitions]
        found = ask(
            lambda: self._consumer.committed(asked, timeout=ASK_TIMEOUT_S),
            f"asking for commits of {topic}",
            ASK_TIMEOUT_S,
        )
        return {
            p.partition: Commit(None if p.offset == OFFSET_INVALID else p.offset, str(p.metadata or "")) for p in found
        }

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The low watermark and the end of a partition, asked of the broker.

        Raises:
            KafkaUnavailable: if it does not answer.
        """
        where = TopicPartition(topic, partition)
        found = ask(
            lambda: self._consumer.get_watermark_offsets(where, timeout=ASK_TIMEOUT_S),
            f"asking for the end of {topic}-{partition}",
            ASK_TIMEOUT_S,
        )
        return int(found[0]), int(found[1])

    def end(self, topic: str, partition: int) -> int:
        """The end of an assigned partition as of the last fetch; -1 if nothing was fetched yet."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        except KafkaException:
            return -1
        return int(high) if high >= 0 else -1

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Starts consuming a partition at an offset."""
        if not self._assigned:  # an unknown topic is otherwise found only after 0.6 s
            self._consumer.list_topics(topic, ASK_TIMEOUT_S)
        self._consumer.incremental_assign([TopicPartition(topic, partition, offset)])
        self._assigned.add((topic, partition))

    def unassign(self, topic: str, partition: int) -> None:
        """Stops consuming a partition; records of it that were not taken are dropped."""
        if (topic, partition) in self._assigned:
            self._assigned.discard((topic, partition))
            self._consumer.incremental_unassign([TopicPartition(topic, partition)])

    @property
    def assigned(self) -> frozenset[tuple[str, int]]:
        """Topic and partition of all that is consumed."""
        return frozenset(self._assigned)

    def take(self, limit: int, timeout: float) -> list[Record]:
        """What is there, waiting at most `timeout` s for the first record.

        Raises:
            OffsetLost: a partition's position is not in the topic.
        """
        message = self._consumer.poll(timeout)
        if message is None:
            return []
        out = []
        for one in [message, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [message]:
            error = one.error()
            if error is None:
                if (one.topic(), one.partition()) in self._assigned:
                    out.append(Record(one))
            elif error.code() != KafkaError._PARTITION_EOF:
                ours = translate(error, "consuming work")
                log.warning("consuming work", extra={"error": str(ours)})
                if isinstance(ours, OffsetLost):
                    self._errors.append(ours)
        if self._errors and not out:
            raise self._errors.pop(0)
        return out

    def pause(self, topic: str, partitions: Iterable[int]) -> None:
        """Fetches no more of these partitions for now."""
        self._consumer.pause([TopicPartition(topic, p) for p in partitions])

    def resume(self, topic: str, partitions: Iterable[int]) -> None:
        """Fetches them again."""
        self._consumer.resume([TopicPartition(topic, p) for p in partitions])

    def commit(self, positions: Mapping[tuple[str, int], tuple[int, str]], *, wait: bool) -> None:
        """Commits offset and metadata string of partitions.

        Raises:
            KafkaUnavailable: if `wait` and the broker does not confirm it.
        """
        if not positions:
            return
        offsets = [
            TopicPartition(topic, partition, offset, metadata)
            for (topic, partition), (offset, metadata) in positions.items()
        ]
        try:
            result = self._consumer.commit(offsets=offsets, asynchronous=False) if wait else None
            if not wait:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            raise translate(error, "committing work") from error
        for one in result or []:
            if one.error is not None:
                raise translate(one.error, f"committing {one.topic}-{one.partition}")

    def close(self) -> None:
        """Stops consuming; commits nothing."""
        self._consumer.close()
