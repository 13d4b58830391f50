"""A member of a consumer group that loses nothing: what it commits is done, and it says so itself.

1. `take` a batch; each offset is added to its partition's progress.
2. The caller answers each record and calls `done`.
3. `commit` sends how far each partition is done, every 100 ms; what is not confirmed is sent again.
4. On revoke: intake stops for those partitions, `drain` is given until a deadline to finish what is in hand, that is
   committed synchronously, then the partitions are given up.
5. On lost: the partitions are dropped and nothing is committed for them, since somebody else has them already.

A position that is not in the topic is an event (`gaps`), never silence: below the low watermark records were deleted unread, which
also happens while a member runs; above the end the log was cut off. The client is told to stop there (`auto.offset.reset=error`),
since on its own it would go on silently somewhere else. The range counts as done when it was said where it went (`settle`).

Where a partition begins is asked over a connection on which nobody fetches (see `enquiries`): meanwhile nobody reads any of them.

A log that was cut off may have grown again before anybody looks, and what came since stands below the commit, unread. So a commit
carries the time of the newest record that was taken: a partition begins at the first one that is newer, if that is below.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infaas.bus.commits import Commit, Place
from infaas.bus.enquiries import Enquiries
from infaas.bus.errors import translate
from infaas.bus.leaving import leave
from infaas.bus.progress import Progress, start
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import Fenced, InfaasError, OffsetLost, ProducerFatal

log = logging.getLogger(__name__)
COMMIT_EVERY_S = 0.1
REVOKE_DEADLINE_S = 2.0
ASK_TIMEOUT_S = 5.0
HEAR_TIMEOUT_S = 0.5
CLOSE_S = 5.0
"""After that a broker that does not answer finds out by itself that we have gone: its session timeout says so."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that are no longer in the topic, and that nobody has answered."""

    topic: str
    partition: int
    first: int
    last: int
    cut: bool = False
    """Whether they had been read and were cut off the log's end, instead of deleted unread."""


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
        self._drain, self._client_id, self._topics = drain, client_id, topics
        self._parts: dict[Place, Progress] = {}
        self._newest_ms: dict[Place, int] = {}
        """Time of the newest record taken, by partition; it stands in the commits."""
        self._next_commit = 0.0
        self._paused = False
        self._member_id = ""
        """As of the last assignment; empty = to be asked for."""
        self._fatal: InfaasError | None = None
        self.gaps: list[Gap] = []
        """Found since the caller last emptied it."""
        self.revocations = 0
        self._gave_up = self._joins_late = False
        """Whether partitions were given up in the rebalance that is under way, and whether another would have to wait."""
        self._consumer = Consumer(
            {
                **settings.group_member(client_id, group),
                "auto.offset.reset": "error",  # what is lost is ours to tell
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
            },
            logger=log,
        )
        self._enquiries = Enquiries(settings, client_id=f"{client_id}-asks", group=group, timeout_s=ASK_TIMEOUT_S)
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def take(self, limit: int = 1000, timeout: float = 0.01) -> list[Record]:
        """The next records, waiting at most `timeout` s for the first.

        Raises:
            ProducerFatal: the client can't go on.
        """
        self._join_again_at_once()
        message = self._consumer.poll(timeout)
        if self._fatal is not None:
            raise self._fatal
        if message is None:
            return []
        messages = [message]
        if limit > 1:
            before = self._parts.copy()
            # `consume(n, t)` would wait all of t unless n came; what is there already is what is wanted.
            messages += self._consumer.consume(limit - 1, 0)
            if self._fatal is not None:
                raise self._fatal
            messages = self._still_valid(messages, before)
        return [record for record in map(self._accept, messages) if record is not None]

    def _still_valid(self, messages: list[Message], before: dict[Place, Progress]) -> list[Message]:
        """Without what may be of an assignment that has ended, since a rebalance was served after the first was in hand.

        Of a partition that came back meanwhile it would stand for everything before it, which is to be read again: what is in
        hand is dropped, and the partition begun again where it starts now.
        """
        back = {at for at, part in self._parts.items() if before.get(at) is not part}
        for at in back:
            self._begin_again(*at)
        return [one for one in messages if (one.topic(), one.partition()) not in back] if back else messages

    def _accept(self, message: Message) -> Record | None:
        error = message.error()
        if error is not None:
            if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                self._lose(message.topic() or "", message.partition())
            elif error.code() != KafkaError._PARTITION_EOF:
                log.warning("consuming", extra={"error": str(translate(error))})
            return None
        record = Record(message)
        part = self._parts.get((record.topic, record.partition))
        if part is None or record.offset < part.taken:
            return None  # of a partition that was revoked while this batch was under way, or fetched twice
        part.add(record.offset)
        place = (record.topic, record.partition)
        self._newest_ms[place] = max(self._newest_ms.get(place, 0), int(record.timestamp_ms))
        return record

    def done(self, record: Record) -> None:
        """The record has its confirmed reply, re-dispatch or dead letter."""
        part = self._parts.get((record.topic, record.partition))
        if part is not None:
            part.done(record.offset)

    def settle(self, gap: Gap) -> None:
        """What was lost was told, confirmed: it counts as done."""
        part = self._parts.get((gap.topic, gap.partition))
        if part is not None and not gap.cut:  # what was cut off was done before, and its offsets are given out again
            part.done(gap.first)
            part.done(gap.last)

    def holds(self, record: Record) -> bool:
        """Whether the record's partition is still ours."""
        return (record.topic, record.partition) in self._parts

    @property
    def pending(self) -> int:
        """Records taken and not done, of partitions that are still ours."""
        return sum(part.pending for part in self._parts.values())

    @property
    def partitions(self) -> list[Place]:
        """What is assigned to this member."""
        return sorted(self._parts)

    @property
    def member_id(self) -> str:
        """Its id in the group; empty while it has not joined."""
        if not self._member_id:  # the client takes some milliseconds to say it
            self._member_id = str(self._consumer.memberid() or "")
        return self._member_id

    def commit(self, *, force: bool = False) -> None:
        """Commits what is done further than before, at most every 100 ms unless forced (then synchronously)."""
        now = time.monotonic()
        if not force and now < self._next_commit:
            return
        self._next_commit = now + COMMIT_EVERY_S
        self._commit(list(self._parts), wait=force)
        # The client looks whether a heartbeat is due when something wakes its thread, else twice a second; and it is by a heartbeat's
        # answer that a member hears that partitions are to be had.
        self._consumer.memberid()

    def _commit(self, partitions: list[Place], *, wait: bool) -> None:
        parts = {at: self._parts[at] for at in partitions if at in self._parts}
        moved = {at: to for at, part in parts.items() if (to := part.uncommitted if wait else part.moved) is not None}
        if not moved:
            return
        for at, position in moved.items():
            parts[at].committing(position)
        offsets = [
            TopicPartition(*place, offset, str(self._newest_ms.get(place, ""))) for place, offset in moved.items()
        ]
        try:
            if wait:
                self._confirmed(self._consumer.commit(offsets=offsets, asynchronous=False) or [])
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            for part in parts.values():
                part.refused()
            ours = translate(error, "committing")
            log.info("commit refused", extra={"error": str(ours), "fenced": isinstance(ours, Fenced)})

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Of an asynchronous commit, in `poll`."""
        self._confirmed(offsets, error)

    def _confirmed(self, offsets: list[TopicPartition], error: KafkaError | None = None) -> None:
        for place in offsets:
            part = self._parts.get((place.topic, place.partition))
            if part is None or place.offset < 0:
                continue
            if error is None and place.error is None:
                part.committed(place.offset)
            else:
                part.refused()  # and so said again, with all that is done by then
                log.info("commit not confirmed", extra={"error": str(error or place.error)})

    def pause(self) -> None:
        """Stops taking, stays in the group."""
        if not self._paused:
            self._paused = True
            self._consumer.pause([TopicPartition(*at) for at in self._parts])

    def resume(self) -> None:
        """Takes again."""
        if self._paused:
            self._paused = False
            self._consumer.resume([TopicPartition(*at) for at in self._parts])

    def close(self) -> None:
        """Commits what is done and leaves the group, so that others take over at once; whoever closes has drained."""
        self._drain = None
        leave(self._close, self._client_id, within_s=CLOSE_S)

    def _close(self) -> None:
        self._commit(list(self._parts), wait=True)
        self._consumer.close()
        self._enquiries.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member_id = ""
        try:
            places = [(p.topic, p.partition) for p in partitions]
            commits = self._enquiries.commits(places)
            begun = [self._start(place, commit) for place, commit in commits.items()]
        except InfaasError as error:
            # Without a start no partition may be consumed; a new process asks again.
            self._fatal = ProducerFatal(f"taking over partitions: {error}")
            return
        self._assign(consumer, begun)
        self._joins_late, self._gave_up = not self._gave_up, False

    def _join_again_at_once(self) -> None:
        """If there is another rebalance within a second, as there is when one has given up partitions for another to have.

        The client joins but once a second, unless it has given something up, or heard of the cluster since (librdkafka's
        `rkcg_join_intvl`). One that waits for that keeps all others waiting, and the partitions that move have nobody. Never in
        a callback: there this question takes from `poll` the state with which it calls the next one, and that ends the process.
        """
        if self._joins_late:
            self._joins_late = False
            with contextlib.suppress(KafkaException):
                self._consumer.list_topics(self._topics[0], timeout=HEAR_TIMEOUT_S)

    def _assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_assign(places)
        if self._paused:
            consumer.pause(places)

    def _lose(self, topic: str, partition: int | None) -> None:
        """The position of a partition is not in the topic: goes on at what is there.

        A log that was cut off ends the process: offsets that are taken already stand for other records now.
        """
        part = self._parts.get((topic, -1 if partition is None else partition))
        if part is None or partition is None:
            return
        low, end = self._enquiries.watermarks(topic, partition)
        said = str(self._newest_ms.get((topic, partition), ""))
        cut = self._cut((topic, partition), part.taken, said, end)
        if cut is not None:
            self._fatal = OffsetLost(f"{topic}-{partition} was cut off at {cut}, before {part.taken}, which was read")
            return
        if part.taken < low:
            self._skip(part, Gap(topic, partition, part.taken, low - 1))
        self._begin_again(topic, partition)

    def _begin_again(self, topic: str, partition: int) -> None:
        """Reads on where it has got to; a partition that has stopped at an error can't be sought in."""
        self._consumer.incremental_unassign([TopicPartition(topic, partition)])
        self._assign(self._consumer, [TopicPartition(topic, partition, self._parts[topic, partition].taken)])

    def _skip(self, part: Progress, gap: Gap) -> None:
        """Goes on behind a gap; its ends stand for all of it, so that no commit passes its first offset before it was told."""
        for offset in sorted({gap.first, gap.last}):
            part.add(offset)
        self.gaps.append(gap)

    def _start(self, place: Place, commit: Commit) -> TopicPartition:
        """Fixes where a partition starts: at its commit, or where the topic begins or ends if that is not in it."""
        committed = commit.offset
        low, end = self._enquiries.watermarks(*place)
        part = Progress(min(end, start(committed, low)))
        if committed is not None and committed < low:
            part = Progress(committed)
            self._skip(part, Gap(*place, committed, low - 1))
        elif committed is not None and (cut := self._cut(place, committed, commit.metadata, end)) is not None:
            part = Progress(max(low, cut))
            self.gaps.append(Gap(*place, cut, committed - 1, cut=True))
        self._parts[place] = part
        return TopicPartition(*place, part.taken)

    def _cut(self, place: Place, offset: int, said: str, end: int) -> int | None:
        """Where a log ended when it was cut off below an offset that was reached; None = it was not.

        `said` is how new the records were that far, epoch ms. Who does not say it is of an earlier version: then it is where the
        log ends now.
        """
        if not (said.isascii() and said.isdigit()):
            return end if offset > end else None
        newest_ms = self._newest_ms[place] = int(said)
        newer = self._enquiries.first_since(*place, newest_ms + 1)
        first = end if newer is None else newer
        return first if first < offset else None

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member_id, self._gave_up = "", True
        self.revocations += 1
        gone = [(p.topic, p.partition) for p in partitions]
        if self._drain is not None and any(self._parts[at].pending for at in gone if at in self._parts):
            self._drain(time.monotonic() + REVOKE_DEADLINE_S)
        self._commit(gone, wait=True)
        for at in gone:
            self._parts.pop(at, None)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member_id = ""
        self.revocations += 1
        for p in partitions:
            self._parts.pop((p.topic, p.partition), None)
        consumer.incremental_unassign(partitions)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = ProducerFatal(str(error))
