"""The partitions an instance owns: begun as it is told, taken from, committed as far as they are done, and released.

1. `begin`: read, decide, commit the mark (see `beginning`); what the broker does not answer is tried again at the next step.
2. `take`: online work; offline work from a consumer of its own, and only while all online work is read, so that no offline record
   can stand before an online one, neither in a fetch nor in a queue.
3. `commit`: asks for it without waiting; it counts when it is confirmed, and is repeated when it is refused.
4. A position that is not in the topic: below it somebody else had committed, which is merely late; beyond its end the broker has
   lost records. Either way the partition is begun again at its low watermark, and the second is an event.
5. `release`: nothing more is taken; when what is in hand is done, or its time is over, it is committed, and let go when that
   is confirmed.

Invariant: a commit never passes a record without a confirmed reply or dead letter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from infaas.bus.commits import Place
from infaas.bus.progress import Progress
from infaas.bus.record import Record
from infaas.bus.workqueue import WorkQueue
from infaas.host.deadlines import DRAIN_S
from infaas.host.messages import Message, Refused, Released, Take, Taken
from infaas.schemas.errors import InfaasError
from infaas.schemas.reports import Position
from infaas.workers import beginning
from infaas.workers.beginning import Beginning
from infaas.workers.partition import Partition
from infaas.workers.poison import Mark, Start

log = logging.getLogger(__name__)
RETRY_S = 0.2


class Partitions:
    """What one instance owns.

    Args:
        online: consumes the work topic.
        offline: consumes the offline topic.
        topics: full names of the two, in this order.
        worker: ours.
        on_lost: told of a partition whose records from an offset on are not in the topic any more: topic, partition, offset.
        now: the monotonic clock, s.
    """

    def __init__(
        self,
        *,
        online: WorkQueue,
        offline: WorkQueue,
        topics: tuple[str, str],
        worker: str,
        on_lost: Callable[[str, int, int], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics, self._worker, self._on_lost, self._now = topics, worker, on_lost, now
        self._queues = {topics[0]: online, topics[1]: offline}
        self._parts: dict[Place, Partition] = {}
        self._orders: dict[int, tuple[Take, list[Beginning] | None]] = {}
        self._never_begun: list[int] = []
        self._retry_at = 0.0

    # ---- what is owned

    def begin(self, order: Take) -> None:
        """Takes an order; `step` carries it out."""
        self._orders[order.partition] = (order, None)

    def release(self, partition: int) -> None:
        """Stops taking; `step` lets it go."""
        self._orders.pop(partition, None)
        for topic in self._topics:
            part = self._parts.get((topic, partition))
            if part is not None and part.release_by is None:
                part.release_by = self._now() + DRAIN_S
                self._queues[topic].unassign(topic, partition)
        if not self._holds(partition):
            self._never_begun.append(partition)

    @property
    def busy(self) -> bool:
        """Whether `step` has to ask the broker something, which may take its time."""
        return self._now() >= self._retry_at and bool(self._orders or any(q.lost() for q in self._queues.values()))

    def step(self) -> list[Message]:
        """Goes on with what was begun, lost and released; returns what the supervisor has to know."""
        self._hear()
        out: list[Message] = [Released(partition=partition) for partition in self._never_begun]
        self._never_begun.clear()
        if self.busy:
            self._attempt(self._begin_again)
            # All that is asked first: what begins together is fetched together.
            for order, _ in list(self._orders.values()):
                self._attempt(lambda order=order: self._read(order))  # type: ignore[misc]
            for order, begun in list(self._orders.values()):
                self._attempt(lambda order=order, begun=begun: out.extend(self._carry_out(order, begun)))  # type: ignore[misc]
        return [*out, *self._let_go()]

    def _attempt(self, action: Callable[[], None]) -> None:
        """Does what the broker may not answer now, or have yet: then it is done later, and holds up nothing else."""
        try:
            action()
        except InfaasError as error:
            if not error.retryable:
                raise
            self._retry_at = self._now() + RETRY_S
            log.warning("a partition is begun later", extra={"error": str(error)})

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def releasing(self) -> bool:
        """Whether somebody else waits for one of them."""
        return any(part.release_by is not None for part in self._parts.values())

    # ---- records

    def take(self, limit: int, timeout: float) -> list[tuple[Partition, Record]]:
        """Online records, waiting at most `timeout` s for the first."""
        return self._accept(self._queues[self._topics[0]].take(limit, timeout))

    def take_offline(self, limit: int) -> list[tuple[Partition, Record]]:
        """Offline records that are there, if there is no online backlog."""
        topic = self._topics[1]
        if not any(part.offline for part in self._parts.values()) or not self._all_read():
            return []
        return self._accept(self._queues[topic].take(limit, 0.0))

    def positions(self) -> list[Position]:
        """How far the partitions of the work topic are."""
        queue = self._queues[self._topics[0]]
        return [
            Position(
                partition=p.partition,
                end=max(queue.end(*p.place), p.progress.taken),
                completed=p.progress.taken - p.in_hand,
            )
            for p in self._parts.values()
            if not p.offline
        ]

    def furthest(self) -> dict[int, int]:
        """Partition of the work topic → offset after the furthest record taken."""
        return {p.partition: p.progress.taken for p in self._parts.values() if not p.offline}

    @property
    def in_hand(self) -> int:
        """Records taken, and neither done nor left to the next owner."""
        return sum(part.in_hand for part in self._parts.values())

    @property
    def offline_in_hand(self) -> int:
        """Of these the offline ones."""
        return sum(part.in_hand for part in self._parts.values() if part.offline)

    # ---- commits

    def commit(self, parts: Iterable[Partition] | None = None) -> None:
        """Asks to commit what is done further than was asked before."""
        for topic, queue in self._queues.items():
            moved = {
                p.place: (p, to)
                for p in (self._parts.values() if parts is None else parts)
                if p.topic == topic and (to := p.progress.moved) is not None
            }
            if not moved:
                continue
            try:
                queue.commit({place: (to, "") for place, (_, to) in moved.items()}, wait=False)
            except InfaasError as error:
                log.warning("commit refused", extra={"error": str(error)})
                continue
            for part, to in moved.values():
                part.progress.committing(to)

    def settle(self, timeout: float, *, but: Partition | None = None) -> bool:
        """Commits all that is done, of all partitions but one, and waits for every answer; whether all of it is confirmed."""
        parts = [part for part in self._parts.values() if part is not but]
        self.commit(parts)
        deadline = self._now() + timeout
        answered = [queue.settle(max(0.0, deadline - self._now())) for queue in self._queues.values()]
        self._hear()
        return all(answered) and all(part.progress.uncommitted is None for part in parts)

    def mark(self, part: Partition, offset: int, timeout: float) -> bool:
        """Commits the mark of a record that is to run alone; whether it is confirmed.

        Everything before it is committed first: of all partitions only one ever has a mark of something that runs, or its
        neighbour's death would count against it. What is done of its own partition is committed with the mark, by the same commit;
        but none may be under way by then that could still write over it.
        """
        if not self.settle(timeout, but=part):
            return False
        if self._parts.get(part.place) is not part or part.progress.position != offset:
            return True  # of a partition that was begun again since: nobody commits for it any more
        first = offset == part.begin
        deaths, first_worker = (part.start.deaths, part.start.first_worker) if first else (0, "")
        try:
            text = str(Mark(offset, deaths, first_worker))
            self._queues[part.topic].commit({part.place: (offset, text)}, wait=True)
        except InfaasError as error:
            if not error.retryable:
                raise
            log.warning("mark not confirmed", extra={"error": str(error)})
            return False
        part.marked = offset
        return True

    def marked(self) -> bool:
        """Whether a record that was taken has its mark in a commit still: it would be blamed for a death now, whatever runs."""
        return any(part.marked is not None and part.progress.taken > part.marked for part in self._parts.values())

    def close(self) -> None:
        """Stops consuming; commits nothing."""
        for queue in self._queues.values():
            queue.close()

    # ---- within

    def _read(self, order: Take) -> None:
        partition = order.partition
        if self._holds(partition) or self._orders[partition][1] is not None:
            return
        begun = [
            beginning.read(self._queues[topic], topic, order, worker=self._worker, online=at == 0)
            for at, topic in enumerate(self._topics)
        ]
        self._orders[partition] = (order, begun)

    def _carry_out(self, order: Take, begun: list[Beginning] | None) -> list[Message]:
        partition = order.partition
        if self._holds(partition):
            if any(part.release_by is not None for part in self._of(partition)):
                return []  # it is begun when it is let go
            del self._orders[partition]
            return [Taken(partition=partition)]
        if begun is None:
            return []  # it could not be asked for
        marks = beginning.marks(begun)
        for place, position in marks.items():
            self._queues[place[0]].commit({place: position}, wait=True)
        del self._orders[partition]
        if any(part.start.elsewhere for part in begun):
            return [Refused(partition=partition)]
        for part in begun:
            self._own(part.place, part.offset, part.start, lost_from=part.lost_from)
            if marks.get(part.place, (0, ""))[1]:
                self._parts[part.place].marked = part.offset
        return [Taken(partition=partition)]

    def _own(self, place: Place, offset: int, start: Start, *, lost_from: int | None) -> None:
        topic, partition = place
        if lost_from is not None:
            self._on_lost(topic, partition, lost_from)
        self._parts[place] = Partition(
            topic, partition, Progress(offset), start, offset, offline=topic == self._topics[1]
        )
        self._queues[topic].assign(topic, partition, offset)

    def _begin_again(self) -> None:
        for topic, queue in self._queues.items():
            for place in queue.lost():
                part = self._parts[place]
                low, end = queue.watermarks(*place)
                taken = part.progress.taken
                if low <= taken <= end:  # it is there after all
                    queue.unassign(*place)
                    queue.assign(topic, part.partition, taken)
                    continue
                # What is committed is beyond the end too, and whoever deletes below it would delete all.
                queue.commit({place: (low, "")}, wait=True)
                queue.unassign(*place)
                self._own(place, low, Start(low), lost_from=taken if taken > end else None)

    def _of(self, partition: int) -> list[Partition]:
        return [part for topic in self._topics if (part := self._parts.get((topic, partition))) is not None]

    def _holds(self, partition: int) -> bool:
        return bool(self._of(partition))

    def _let_go(self) -> list[Message]:
        out: list[Message] = []
        for partition in {p.partition for p in self._parts.values() if p.release_by is not None}:
            parts = self._of(partition)
            if any(part.in_hand and self._now() < (part.release_by or 0.0) for part in parts):
                continue
            self.commit(parts)
            if all(part.progress.uncommitted is None for part in parts):
                for part in parts:
                    del self._parts[part.place]
                out.append(Released(partition=partition))
        return out

    def _accept(self, records: list[Record]) -> list[tuple[Partition, Record]]:
        out = []
        for record in records:
            part = self._parts.get((record.topic, record.partition))
            if part is None or part.release_by is not None or record.offset < part.progress.taken:
                continue
            part.add(record.offset)
            out.append((part, record))
        return out

    def _all_read(self) -> bool:
        queue = self._queues[self._topics[0]]
        return all(
            0 <= queue.end(*p.place) <= p.progress.taken
            for p in self._parts.values()
            if not p.offline and p.release_by is None
        )

    def _hear(self) -> None:
        for queue in self._queues.values():
            for answer in queue.answers():
                part = self._parts.get(answer.place)
                if part is None or not 0 <= answer.offset <= part.progress.position:
                    continue  # of an earlier life of the partition
                if answer.error is None:
                    part.committed(answer.offset)
                else:
                    part.progress.refused()
                    log.warning("commit not confirmed", extra={"error": str(answer.error)})
