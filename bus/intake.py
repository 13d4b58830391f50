"""A member of a consumer group that loses nothing: what it commits is done, and it says so itself.

1. `take` a batch; each offset is added to its partition's frontier.
2. The caller answers each record and calls `done`.
3. `commit` sends each partition's frontier, every 100 ms.
4. On revoke: intake stops for those partitions, `drain` is given until a deadline to finish what is in hand, the frontier is
   committed synchronously, then the partitions are given up.
5. On lost: the partitions are dropped and nothing is committed for them, since somebody else has them already.

A committed offset below the low watermark means that records were deleted unread: that is an event (`gaps`), never silence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.errors import translate
from infaas.bus.frontier import Frontier
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import Fenced, InfaasError, OffsetLost, ProducerFatal

log = logging.getLogger(__name__)
COMMIT_EVERY_S = 0.1
REVOKE_DEADLINE_S = 2.0
WATERMARK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that were deleted before anybody had read them."""

    topic: str
    partition: int
    first: int
    last: int


class Intake:
    """Consumes topics as a group member.

    Args:
        settings: of the cell.
        topics: full names.
        group: full name.
        client_id: shown by the broker.
        drain: called on revoke with a monotonic deadline; returns when what is in hand is done, or at the deadline.
    """

    def __init__(
        self,
        settings: BusSettings,
        *,
        topics: list[str],
        group: str,
        client_id: str,
        drain: Callable[[float], None] | None = None,
    ) -> None:
        self._drain = drain
        self._frontiers: dict[tuple[str, int], Frontier] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self._next_commit = 0.0
        self._paused = False
        self._fatal: InfaasError | None = None
        self.gaps: list[Gap] = []
        """Found since the caller last emptied it."""
        self.revocations = 0
        self._consumer = Consumer({**settings.group_member(client_id, group), "error_cb": self._on_error}, logger=log)
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def take(self, limit: int = 1000, timeout: float = 0.01) -> list[Record]:
        """The next records, waiting at most `timeout` s for the first.

        Raises:
            ProducerFatal: the client can't go on.
        """
        message = self._consumer.poll(timeout)
        if self._fatal is not None:
            raise self._fatal
        if message is None:
            return []
        # `consume(n, t)` would wait all of t unless n came; what is there already is what is wanted.
        messages = [message, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [message]
        return [record for record in map(self._accept, messages) if record is not None]

    def _accept(self, message: Message) -> Record | None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                log.warning("consuming", extra={"error": str(translate(error))})
            return None
        record = Record(message)
        frontier = self._frontiers.get((record.topic, record.partition))
        if frontier is None or record.offset < frontier.taken:
            return None  # of a partition that was revoked while this batch was under way, or fetched twice
        frontier.add(record.offset)
        return record

    def done(self, record: Record) -> None:
        """The record has its confirmed reply, re-dispatch or dead letter."""
        frontier = self._frontiers.get((record.topic, record.partition))
        if frontier is not None:
            frontier.done(record.offset)

    def holds(self, record: Record) -> bool:
        """Whether the record's partition is still ours."""
        return (record.topic, record.partition) in self._frontiers

    @property
    def pending(self) -> int:
        """Records taken and not done, of partitions that are still ours."""
        return sum(frontier.pending for frontier in self._frontiers.values())

    @property
    def partitions(self) -> list[tuple[str, int]]:
        """What is assigned to this member."""
        return sorted(self._frontiers)

    @property
    def member_id(self) -> str:
        """Its id in the group; empty while it has not joined."""
        return str(self._consumer.memberid() or "")

    def commit(self, *, force: bool = False) -> None:
        """Commits the frontiers that moved, at most every 100 ms unless forced (then synchronously)."""
        now = time.monotonic()
        if not force and now < self._next_commit:
            return
        self._next_commit = now + COMMIT_EVERY_S
        self._commit(list(self._frontiers), wait=force)

    def _commit(self, partitions: list[tuple[str, int]], *, wait: bool) -> None:
        moved = {
            at: self._frontiers[at].position
            for at in partitions
            if at in self._frontiers and self._frontiers[at].position > self._committed.get(at, -1)
        }
        if not moved:
            return
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in moved.items()]
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            ours = translate(error, "committing")
            log.info("commit refused", extra={"error": str(ours), "fenced": isinstance(ours, Fenced)})
            return
        self._committed.update(moved)

    def pause(self) -> None:
        """Stops taking, stays in the group."""
        if not self._paused:
            self._paused = True
            self._consumer.pause([TopicPartition(*at) for at in self._frontiers])

    def resume(self) -> None:
        """Takes again."""
        if self._paused:
            self._paused = False
            self._consumer.resume([TopicPartition(*at) for at in self._frontiers])

    def close(self) -> None:
        """Commits what is done and leaves the group, so that others take over at once."""
        self._commit(list(self._frontiers), wait=True)
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            committed = [self._start(consumer, place) for place in self._ask_committed(consumer, partitions)]
        except InfaasError as error:
            # Without a start no partition may be consumed; a new process asks again.
            self._fatal = ProducerFatal(f"taking over partitions: {error}")
            return
        consumer.incremental_assign(committed)
        if self._paused:
            consumer.pause(committed)

    @staticmethod
    def _ask_committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        def question() -> list[TopicPartition]:
            return consumer.committed(partitions, timeout=WATERMARK_TIMEOUT_S) if partitions else []

        return ask(question, "asking for commits", WATERMARK_TIMEOUT_S)

    def _start(self, consumer: Consumer, place: TopicPartition) -> TopicPartition:
        """Fixes where a partition starts: at its commit, or at the low watermark if that is further."""
        where = TopicPartition(place.topic, place.partition)
        low, _ = ask(
            lambda: consumer.get_watermark_offsets(where, timeout=WATERMARK_TIMEOUT_S),
            f"asking for the start of {place.topic}-{place.partition}",
            WATERMARK_TIMEOUT_S,
        )
        if place.offset != OFFSET_INVALID and place.offset < low:
            self.gaps.append(Gap(place.topic, place.partition, place.offset, low - 1))
        where.offset = low if place.offset == OFFSET_INVALID else max(low, place.offset)
        self._frontiers[place.topic, place.partition] = Frontier(where.offset)
        self._committed[place.topic, place.partition] = where.offset
        return where

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.revocations += 1
        gone = [(p.topic, p.partition) for p in partitions]
        if self._drain is not None and any(self._frontiers[at].pending for at in gone if at in self._frontiers):
            self._drain(time.monotonic() + REVOKE_DEADLINE_S)
        self._commit(gone, wait=True)
        for at in gone:
            self._frontiers.pop(at, None)
            self._committed.pop(at, None)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.revocations += 1
        for p in partitions:
            self._frontiers.pop((p.topic, p.partition), None)
            self._committed.pop((p.topic, p.partition), None)
        consumer.incremental_unassign(partitions)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = ProducerFatal(str(error))
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._fatal = OffsetLost(str(error))
