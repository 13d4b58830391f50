"""One running copy of a variant: its own consumer, engine and producer, in its own process.

Each step:
 1. Do what the supervisor says: take or release a partition, drain, stop.
 2. Take what is queued (offline work only while there is no online work).
 3. Answer what is past its deadline with `expired`, what can't be decoded or does not fit the contract with `failed`.
 4. Form a batch of the rest and tell the supervisor how far it takes; run it.
 5. Produce the replies; a confirmed one marks its record as done.
 6. Commit how far each partition is done every 100 ms, and before it is released.

Invariant: a commit never passes a record without a confirmed reply or dead letter.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from infaas.bus.claim_check import ClaimCheck
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.progress import Progress, start
from infaas.bus.record import Record
from infaas.bus.replies import Reply, ReplySender
from infaas.bus.settings import BusSettings
from infaas.bus.workqueue import Commit, WorkQueue
from infaas.engines import Engine, engine
from infaas.host.channel import Inbox, tell
from infaas.host.deadlines import DRAIN_S, HEARTBEAT_S
from infaas.host.messages import (
    Alive,
    BatchBegan,
    BatchEnded,
    Build,
    LastBatch,
    Message,
    PartitionAt,
    Ready,
    Refused,
    Release,
    Released,
    Serve,
    Stats,
    Stop,
    Take,
    Taken,
    ToChild,
)
from infaas.host.messages import Counters as CountersSaid
from infaas.schemas import oip
from infaas.schemas.errors import BadTensor, InfaasError, OffsetLost
from infaas.schemas.metadata import Variant
from infaas.workers import poison
from infaas.workers.batching import Waiting, choose
from infaas.workers.partition import Partition
from infaas.workers.poison import HELD, Death, Mark
from infaas.workers.work import Ran, Replies, Work

log = logging.getLogger(__name__)
IDLE_S = 0.01
COMMIT_EVERY_S = 0.1
STATS_EVERY_S = 0.05
SLOW_FACTOR, SLOW_FLOOR_MS = 20.0, 10_000.0


@dataclass
class Counters:
    """Since the process started."""

    arrived: int = 0
    answered: int = 0
    expired: int = 0
    failed: int = 0
    batches: int = 0
    busy_ms: float = 0.0
    batch_size_sum: int = 0
    last_batch_ms: float = 0.0
    last_batch_queries: int = 0
    last_expected_ms: float = 0.0
    queue_ms: deque[float] = field(default_factory=lambda: deque(maxlen=256))


class Instance:
    """Serves one variant; `step` is one iteration.

    Args:
        settings: of the cell.
        variant: with its profile.
        worker: the supervisor's name.
        number: of the instance.
        inbox: what the supervisor says.
        descriptor: where it listens.
    """

    def __init__(
        self,
        *,
        settings: BusSettings,
        variant: Variant,
        worker: str,
        number: int,
        inbox: Inbox[ToChild],
        descriptor: int,
    ) -> None:
        name = f"{worker}-{variant.variant}-{number}"
        self._variant, self._worker, self._number = variant, worker, number
        self._inbox, self._descriptor = inbox, descriptor
        self._topics = (settings.names.work(variant.variant), settings.names.offline(variant.variant))
        self._engine: Engine = engine(variant.recipe.engine)
        self._queue = WorkQueue(settings, client_id=name)
        self._outbox = Outbox(settings, client_id=name)
        self._clock = self._outbox.clock
        self._dead = DeadLetters(self._outbox, settings, service="instance")
        self._sender = ReplySender(self._outbox, settings, dead_letters=self._dead)
        self._replies = Replies(variant, worker)
        self._claims = ClaimCheck(settings)
        self._parts: dict[tuple[str, int], Partition] = {}
        self._online: deque[Work] = deque()
        self._offline: deque[Work] = deque()
        self._offline_paused = False
        self._next_commit = self._next_stats = 0.0
        self._said: object = None
        self._said_at = 0.0
        self.counters = Counters()
        self.stopping = False

    def load(self, path: Path) -> None:
        """Loads the artifact and runs it once, so that the first query does not pay for it."""
        recipe = self._variant.recipe
        self._engine.load(path, platform=recipe.platform, cores=recipe.cores)
        self._engine.run({s.name: _zeros(s.datatype, s.shape) for s in self._variant.contract.inputs})
        self._say(Ready())

    def step(self) -> None:
        """One iteration of the loop."""
        for message in self._inbox.take():
            self._obey(message)
        self._take()
        self._outbox.poll(0)
        if self._online:
            self._run(self._online)
        elif self._offline:
            self._run(self._offline)
        self._finish_releases()
        now = time.monotonic()
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_EVERY_S
            self._commit(list(self._parts.values()), wait=False)
        if now >= self._next_stats:
            self._next_stats = now + STATS_EVERY_S
            self._stats()

    def close(self) -> None:
        """Confirms and commits what is done; what was not begun is left to the next owner."""
        self._outbox.flush(2.0)
        self._outbox.poll(0)
        self._commit(list(self._parts.values()), wait=True)
        self._queue.close()
        self._outbox.close(1.0)
        self._engine.close()

    # ---- what the supervisor says

    def _obey(self, message: ToChild) -> None:
        match message:
            case Take():
                before = message.death
                death = None if before is None else Death(before.worker, before.furthest)
                self._start(message.partition, death, others=message.others)
            case Release():
                self._release(message.partition)
            case Stop():
                self.stopping = True
            case Serve() | Build():
                log.warning("a second order is ignored")
            case _ as never:
                assert_never(never)

    def _start(self, partition: int, death: Death | None, *, others: bool) -> None:
        """Begins a partition of both topics, where the owner before had committed."""
        begun = []
        for topic in self._topics:
            commit = self._queue.committed(topic, [partition])[partition]
            low, _ = self._queue.watermarks(topic, partition)
            offset = start(commit.offset, low)
            # How far it had taken is told of online work alone; of offline work nobody knows.
            last = death if death is None or topic == self._topics[0] else Death(death.worker)
            how = poison.start(offset, Mark.parse(commit.metadata), last, worker=self._worker, others=others)
            begun.append((topic, offset, how, commit))
        refusing = any(how.elsewhere for _, _, how, _ in begun)
        for topic, offset, how, commit in begun:
            mark = poison.to_commit(offset, how, refusing=refusing)
            if mark is not None or (Mark.parse(commit.metadata) and not refusing):
                self._queue.commit({(topic, partition): (offset, str(mark or ""))}, wait=True)
        if refusing:
            self._say(Refused(partition=partition))
            return
        for topic, offset, how, _ in begun:
            part = Partition(topic, partition, Progress(offset), how, offset, offline=topic == self._topics[1])
            self._parts[part.place] = part
            self._queue.assign(topic, partition, offset)
            if part.offline and self._offline_paused:
                self._queue.pause(topic, [partition])
        self._say(Taken(partition=partition))

    def _release(self, partition: int) -> None:
        for topic in self._topics:
            part = self._parts.get((topic, partition))
            if part is None:
                continue
            part.releasing = True
            self._queue.unassign(topic, partition)
        for queue in (self._online, self._offline):
            kept = [w for w in queue if w.record.partition != partition]
            queue.clear()
            queue.extend(kept)
        if not any((topic, partition) in self._parts for topic in self._topics):
            self._say(Released(partition=partition))

    def _finish_releases(self) -> None:
        """A partition is released when the batch in hand is confirmed and committed."""
        for partition in {p.partition for p in self._parts.values() if p.releasing}:
            parts = [self._parts[t, partition] for t in self._topics if (t, partition) in self._parts]
            self._outbox.flush(DRAIN_S)
            self._outbox.poll(0)
            self._commit(parts, wait=True)
            for part in parts:
                del self._parts[part.place]
            self._say(Released(partition=partition))

    # ---- records in

    def _take(self) -> None:
        room = HELD - len(self._online) - len(self._offline)
        if not self._parts:
            self._outbox.poll(IDLE_S)
            return
        idle = not self._online and not self._offline
        try:
            records = self._queue.take(max(1, room), IDLE_S if idle else 0.0) if room > 0 else []
        except OffsetLost:
            self._reset()
            return
        for record in records:
            self._accept(record)
        self._pause_offline(bool(self._online))

    def _pause_offline(self, wanted: bool) -> None:
        if wanted != self._offline_paused:
            self._offline_paused = wanted
            mine = [p.partition for p in self._parts.values() if p.offline and not p.releasing]
            (self._queue.pause if wanted else self._queue.resume)(self._topics[1], mine)

    def _reset(self) -> None:
        """A position that is no longer in the topic was committed by somebody else: go on at the low watermark."""
        for part in self._parts.values():
            low, _ = self._queue.watermarks(*part.place)
            if part.progress.taken < low:
                self._queue.unassign(*part.place)
                part.progress = Progress(low)
                self._queue.assign(*part.place, low)

    def _accept(self, record: Record) -> None:
        part = self._parts.get((record.topic, record.partition))
        if part is None or part.releasing or record.offset < part.progress.taken:
            return
        part.progress.add(record.offset)
        self.counters.arrived += 1
        try:
            work = Work.of(record)
        except InfaasError as error:
            self.counters.failed += 1
            self._dead.put(record, stage="decode", cause=error, on_done=lambda: self._done(record))
            return
        if part.start.condemn and record.offset == part.begin:
            self._condemn(part, work)
            return
        (self._offline if part.offline else self._online).append(work)

    def _condemn(self, part: Partition, work: Work) -> None:
        cause = f"two workers died of this record, the first was {part.start.first_worker}"
        part.start = poison.Start(part.start.alone_until)

        def confirmed() -> None:
            self._send(work, self._replies.failed(work, f"the query was given up: {cause}", "poison"))

        self.counters.failed += 1
        self._dead.put(work.record, stage="inference", cause=cause, on_done=confirmed)

    # ---- batches

    def _run(self, queue: deque[Work]) -> None:
        now_ms = self._clock.now_ms()
        self._drop_expired(queue, now_ms)
        self._decode(queue)
        if not queue:
            return
        part = self._parts[queue[0].record.topic, queue[0].record.partition]
        if part.alone(queue[0].record.offset):
            self._run_alone(part, queue.popleft())
            return
        self._run_batch(self._choose(queue, now_ms))

    def _choose(self, queue: deque[Work], now_ms: float) -> list[Work]:
        profile = self._variant.profile
        assert profile is not None
        waiting = []
        for work in queue:  # what has to run alone ends the batch, so that order within a partition is kept
            if self._parts[work.record.topic, work.record.partition].alone(work.record.offset):
                break
            waiting.append(Waiting(work.rows, work.travel.deadline_ms, _shape(work)))
        chosen = set(choose(waiting, now_ms, max_rows=profile.max_batch, latency_ms=profile.latency_ms))
        batch = [work for at, work in enumerate(queue) if at in chosen]
        kept = [work for at, work in enumerate(queue) if at not in chosen]
        queue.clear()
        queue.extend(kept)
        return batch

    def _drop_expired(self, queue: deque[Work], now_ms: float) -> None:
        late = [work for work in queue if work.travel.drop_after_ms < now_ms]
        if late:
            kept = [work for work in queue if work.travel.drop_after_ms >= now_ms]
            queue.clear()
            queue.extend(kept)
            for work in late:
                self.counters.expired += 1
                self._send(work, self._replies.expired(work, now_ms))

    def _decode(self, queue: deque[Work]) -> None:
        """Reads the bodies, so that a bad one fails alone and before it is stacked."""
        bad = []
        for work in queue:
            if work.request is not None:
                continue
            try:
                value = self._claims.get(work.record.value, work.record.header_map)
                work.request = oip.decode_request(value, work.json_length())
                work.rows = self._variant.contract.check_inputs(work.request.inputs)
                known = {spec.name for spec in self._variant.contract.outputs}
                if not set(work.request.outputs) <= known:
                    raise BadTensor("outputs", f"names among {sorted(known)}", list(work.request.outputs))
            except InfaasError as error:
                bad.append((work, error))
        for work, why in bad:
            queue.remove(work)
            self.counters.failed += 1
            self._send(work, self._replies.failed(work, why))

    def _run_alone(self, part: Partition, work: Work) -> None:
        """After a death: everything before it is committed, with a mark, before it runs.

        The mark of the record before it, maybe of another partition, goes with that commit: of all partitions only one ever
        has a mark of something that runs, or its neighbour's death would count against it.
        """
        self._outbox.flush(DRAIN_S)
        self._outbox.poll(0)
        self._commit(list(self._parts.values()), wait=True)
        first = work.record.offset == part.begin
        how = part.start if first else poison.Start(part.start.alone_until)
        mark = Mark(work.record.offset, how.deaths, how.first_worker)
        if part.progress.position == work.record.offset:
            self._queue.commit({part.place: (work.record.offset, str(mark))}, wait=True)
            part.progress.committed(work.record.offset)
        self._run_batch([work], alone=True)

    def _run_batch(self, batch: list[Work], *, alone: bool = False) -> None:
        profile = self._variant.profile
        assert profile is not None
        rows = sum(work.rows for work in batch)
        expected = profile.latency_ms(rows)
        self._say(
            BatchBegan(
                limit_ms=max(SLOW_FLOOR_MS, SLOW_FACTOR * expected),
                alone=alone,
                furthest={p.partition: p.progress.taken for p in self._parts.values() if not p.offline},
            )
        )
        began = time.perf_counter()
        began_ms = self._clock.now_ms()
        outcome = self._infer(batch)
        took = (time.perf_counter() - began) * 1000.0
        self._say(BatchEnded())
        done_ms = self._clock.now_ms()
        self._count(batch, took, expected)
        for work, found in zip(batch, outcome, strict=True):
            if isinstance(found, InfaasError):
                self.counters.failed += 1
                self._send(work, self._replies.failed(work, found))
                continue
            queue_ms = max(0.0, began_ms - work.record.timestamp_ms)
            self.counters.queue_ms.append(queue_ms)
            self._send(work, self._replies.ok(work, found, Ran(rows, took, queue_ms, done_ms)))

    def _infer(self, batch: list[Work]) -> list[dict[str, oip.Array] | InfaasError]:
        """Runs a batch; if the engine refuses it, each query by itself, so that a bad one fails alone."""
        import numpy as np

        requests = [work.request for work in batch if work.request is not None]
        names = requests[0].inputs
        stacked = {
            n: np.concatenate([r.inputs[n] for r in requests]) if len(batch) > 1 else requests[0].inputs[n]
            for n in names
        }
        try:
            outputs = self._engine.run(stacked)
        except InfaasError as error:
            if len(batch) == 1:
                return [error]
            return [found for work in batch for found in self._infer([work])]
        out: list[dict[str, oip.Array] | InfaasError] = []
        at = 0
        for work, request in zip(batch, requests, strict=True):
            wanted = request.outputs or tuple(outputs)
            out.append({name: outputs[name][at : at + work.rows] for name in wanted})
            at += work.rows
        return out

    def _count(self, batch: list[Work], took: float, expected: float) -> None:
        counters = self.counters
        counters.answered += len(batch)
        counters.batches += 1
        counters.busy_ms += took
        counters.batch_size_sum += len(batch)
        counters.last_batch_ms, counters.last_batch_queries, counters.last_expected_ms = took, len(batch), expected

    # ---- replies, commits, words

    def _send(self, work: Work, reply: Reply) -> None:
        self._sender.send(reply, lambda: self._done(work.record))

    def _done(self, record: Record) -> None:
        part = self._parts.get((record.topic, record.partition))
        if part is not None:
            part.progress.done(record.offset)

    def _commit(self, parts: list[Partition], *, wait: bool) -> None:
        moved = {p.place: (p, to) for p in parts if (to := p.progress.uncommitted) is not None}
        if moved:
            self._queue.commit({at: (to, "") for at, (_, to) in moved.items()}, wait=wait)
            for part, to in moved.values():
                part.progress.committed(to)

    def _stats(self) -> None:
        c = self.counters
        positions = tuple(
            PartitionAt(
                partition=p.partition,
                end=max(self._queue.end(*p.place), p.progress.taken),
                completed=p.progress.position,
            )
            for p in self._parts.values()
            if not p.offline
        )
        queued = sorted(c.queue_ms)
        said = Stats(
            counters=CountersSaid(
                arrived=c.arrived,
                answered=c.answered,
                expired=c.expired,
                failed=c.failed,
                batches=c.batches,
                busy_ms=c.busy_ms,
                batch_size_sum=c.batch_size_sum,
                queue_ms_p99=queued[int(0.99 * (len(queued) - 1))] if queued else 0.0,
            ),
            last=LastBatch(took_ms=c.last_batch_ms, queries=c.last_batch_queries, expected_ms=c.last_expected_ms)
            if c.last_batch_queries
            else None,
            positions=positions,
            offline=sum(p.progress.pending for p in self._parts.values() if p.offline),
        )
        now = time.monotonic()
        if said != self._said:
            self._said, self._said_at = said, now
            self._say(said)
        elif now - self._said_at >= HEARTBEAT_S / 2:
            self._said_at = now
            self._say(Alive())

    def _say(self, message: Message) -> None:
        tell(self._descriptor, message)


def _zeros(datatype: str, shape: tuple[int, ...]) -> oip.Array:
    import numpy as np

    return np.zeros([1 if n < 0 else n for n in shape], dtype=oip.DATATYPES[datatype])


def _shape(work: Work) -> tuple[tuple[str, tuple[int, ...]], ...]:
    assert work.request is not None
    return tuple((name, array.shape[1:]) for name, array in sorted(work.request.inputs.items()))


__all__ = ["Commit", "Instance"]
