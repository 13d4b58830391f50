"""The work queue of one instance: partitions it was told to own, from where the owner before it had committed.

Only `assign()` is ever used in this group, so the group fences nobody: who owns a partition is decided in the metadata
store, and a commit overwrites whatever was there. The commit's metadata string carries the poison mark. A commit is asked for
and answered later, in `take` or `settle`: nothing here waits longer than it is told to for a broker that is away.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.commits import Commit, Place
from infaas.bus.enquiries import Enquiries
from infaas.bus.errors import translate
from infaas.bus.leaving import leave
from infaas.bus.partition_count import ask_partition_count
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError, KafkaUnavailable, OffsetLost, UnknownTopic
from infaas.schemas.topics import WORK_GROUP

log = logging.getLogger(__name__)
WAIT_MS = 100  # data ends a wait at once; what begins waits for it, if nothing comes for what is there already
SERVE_S = 0.001
ASK_TIMEOUT_S = 2.0
"""Of a question: an instance has to say something more often than every five seconds."""
CLOSE_S = 1.0
"""It is no member of a group, so nobody waits for its leave."""
KEPT = 64

"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a commit of one partition."""

    place: Place
    offset: int
    error: InfaasError | None = None


def work_enquiries(settings: BusSettings, client_id: str) -> Enquiries:
    """By whom the queues of one instance ask."""
    group = settings.names.group(WORK_GROUP)
    return Enquiries(settings, client_id=f"{client_id}-questions", group=group, timeout_s=ASK_TIMEOUT_S)


class WorkQueue:
    """Consumes partitions by `assign()`, with explicit starts and commits.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        wait_ms: longest fetch; a newly assigned partition may wait this long for the fetch before it.
        enquiries: by whom questions are asked; None = it has its own.
    """

    def __init__(
        self, settings: BusSettings, *, client_id: str, wait_ms: int = WAIT_MS, enquiries: Enquiries | None = None
    ) -> None:
        group = settings.names.group(WORK_GROUP)
        self._enquiries = enquiries or work_enquiries(settings, client_id)
        self._client_id = client_id
        self._beginning: dict[Place, int] = {}
        """Assigned, and not yet told to the client, with their offsets."""
        self._assigned: set[Place] = set()
        self._known: dict[str, int] = {}
        self._kept: deque[Message] = deque()
        self._lost: set[Place] = set()
        self._answers: list[Answer] = []
        self._unanswered = 0
        self._consumer = Consumer(
            {
                **settings.consumer(client_id, group, reset="error", wait_ms=wait_ms),
                "on_commit": self._on_commit,
            },
            logger=log,
        )

    def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, Commit]:
        """What the group last committed for these partitions.

        Raises:
            KafkaUnavailable: if the broker does not answer.
        """
        commits = self._enquiries.commits((topic, partition) for partition in partitions)
        return {partition: commit for (_, partition), commit in commits.items()}

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The low watermark and the end of a partition, asked of the broker.

        Raises:
            RetryableError: if it does not answer, or has no such partition yet.
        """
        return self._enquiries.watermarks(topic, partition)

    def end(self, topic: str, partition: int) -> int:
        """The end of an assigned partition as of the last fetch; -1 if nothing was fetched yet."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        except KafkaException:
            return -1
        return int(high) if high >= 0 else -1

    def learn(self, topic: str, partition: int) -> None:
        """Asks for a topic until it has the partition: an unknown one is otherwise found only after 0.6 s.

        Raises:
            UnknownTopic: there is no such partition yet.
            KafkaUnavailable: if the broker does not answer.
        """
        if partition < self._known.get(topic, 0):
            return
        self._enquiries.learn(topic, partition)  # who is told that there is none yet has waited for no fetch
        self._known[topic] = ask(
            lambda: ask_partition_count(self._consumer, topic, ASK_TIMEOUT_S), f"asking for {topic}", ASK_TIMEOUT_S
        )
        if partition >= self._known[topic]:
            raise UnknownTopic(f"{topic} has {self._known[topic]} partitions, not yet a partition {partition}")

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Starts consuming a partition at an offset, from the next `take` on.

        All that begin by then begin with one fetch: of one after the other each would wait for the fetch of those before it.
        """
        self.learn(topic, partition)
        self._beginning[topic, partition] = offset
        self._assigned.add((topic, partition))

    def unassign(self, topic: str, partition: int) -> None:
        """Stops consuming a partition; records of it that were not taken are dropped."""
        if (topic, partition) in self._assigned:
            self._assigned.discard((topic, partition))
            self._lost.discard((topic, partition))
            self._kept = deque(m for m in self._kept if (m.topic(), m.partition()) != (topic, partition))
            if self._beginning.pop((topic, partition), None) is None:
                self._consumer.incremental_unassign([TopicPartition(topic, partition)])

    @property
    def assigned(self) -> frozenset[Place]:
        """All that is consumed."""
        return frozenset(self._assigned)

    def take(self, limit: int, timeout: float) -> list[Record]:
        """What is there, waiting at most `timeout` s for the first record."""
        if not self._kept:
            self._poll(timeout)
            if self._kept and limit > 1:
                self._kept.extend(self._consumer.consume(limit - 1, 0))
        taken = [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]
        return [record for record in map(self._record, taken) if record is not None]

    def lost(self) -> frozenset[Place]:
        """Assigned partitions whose position is not in the topic: nothing is read of them until they are assigned again."""
        return frozenset(self._lost)

    def commit(self, positions: Mapping[Place, tuple[int, str]], *, wait: bool) -> None:
        """Asks to commit offset and metadata string of partitions; `answers` says what became of it.

        Raises:
            KafkaUnavailable: if it can't be asked for, or `wait` and the broker does not confirm it in time.
        """
        if not positions:
            return
        offsets = [
            TopicPartition(topic, partition, offset, metadata)
            for (topic, partition), (offset, metadata) in positions.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            raise translate(error, "committing work") from error
        self._unanswered += 1
        if wait:
            self._await(positions)

    def answers(self) -> list[Answer]:
        """What has become of commits since this was last asked."""
        out, self._answers = self._answers, []
        return out

    def settle(self, timeout: float) -> bool:
        """Waits until every commit is answered; records that come meanwhile are kept for `take`."""
        deadline = time.monotonic() + timeout
        while self._unanswered and time.monotonic() < deadline:
            self._poll(SERVE_S)
        return not self._unanswered

    def close(self) -> None:
        """Stops consuming; commits nothing."""
        leave(self._consumer.close, self._client_id, within_s=CLOSE_S)
        self._enquiries.close()

    def _await(self, positions: Mapping[Place, tuple[int, str]]) -> None:
        begun = len(self._answers)
        settled = self.settle(ASK_TIMEOUT_S)
        refused = [a.error for a in self._answers[begun:] if a.place in positions and a.error is not None]
        if refused:
            raise refused[-1]
        if not settled:
            raise KafkaUnavailable(f"committing work: not confirmed in {ASK_TIMEOUT_S:g} s")

    def _poll(self, timeout: float) -> None:
        if self._beginning:
            self._consumer.incremental_assign([TopicPartition(*at, offset) for at, offset in self._beginning.items()])
            self._beginning.clear()
        message = self._consumer.poll(timeout) if len(self._kept) < KEPT or timeout else None
        if message is not None:
            self._kept.append(message)

    def _record(self, message: Message) -> Record | None:
        partition = message.partition()
        place = (message.topic() or "", -1 if partition is None else partition)
        error = message.error()
        if error is None:
            return Record(message) if place in self._assigned else None
        if error.code() != KafkaError._PARTITION_EOF:
            ours = translate(error, "consuming work")
            log.warning("consuming work", extra={"error": str(ours), "place": place})
            if isinstance(ours, OffsetLost) and place in self._assigned:
                self._lost.add(place)
        return None

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._unanswered -= 1
        for place in offsets:
            wrong = error or place.error
            ours = None if wrong is None else translate(wrong, f"committing {place.topic}-{place.partition}")
            self._answers.append(Answer((place.topic, place.partition), place.offset, ours))
