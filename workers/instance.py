"""One running copy of a variant: its own consumers, engine and producer, in its own process.

Each step:
 1. Do what the supervisor says: take or release a partition, stop.
 2. Stand still while the supervisor is not heard: somebody else may have our partitions by now.
 3. Take what is queued; offline work only while there is no online work, and no more of it than a batch.
 4. Answer what can't be answered in time with `expired`.
 5. After a death: commit a mark, and run one record by itself; commit that before anything runs together.
 6. Tell the supervisor how far we have got, and decode those with the earliest deadlines; what can't be decoded or does not fit
    the contract is answered with `failed`.
 7. Form a batch of them and run it; if the engine fails it, each record by itself.
 8. Produce the replies; a confirmed one marks its record as done.
 9. Commit how far each partition is done every 100 ms, and before it is released.

Invariants: a commit never passes a record without a confirmed reply or dead letter. A record's failure is that record's: whatever
is raised while one is parsed, decoded, run or answered becomes its `failed` reply and a dead letter; only a lost producer or a
lost engine ends the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import assert_never

from infaas.bus.claim_check import ClaimCheck
from infaas.bus.outbox import Outbox
from infaas.bus.record import Record
from infaas.host.channel import Inbox
from infaas.host.deadlines import LEASE_S
from infaas.host.messages import Build, Keep, Ready, Release, Serve, Stop, Take, ToChild
from infaas.host.pace import Pace
from infaas.schemas.conformity import Conformity
from infaas.schemas.contract import Contract
from infaas.schemas.errors import InferenceFailed, ProducerFatal
from infaas.schemas.headers import CLAIM_CHECK
from infaas.schemas.profile import Profile
from infaas.workers import poison
from infaas.workers.answers import Answers
from infaas.workers.batch import Runner
from infaas.workers.held import Held
from infaas.workers.partition import Partition
from infaas.workers.partitions import Partitions
from infaas.workers.poison import HELD
from infaas.workers.replies import Ran
from infaas.workers.tally import Tally
from infaas.workers.voice import Voice
from infaas.workers.work import Work

log = logging.getLogger(__name__)
RELEASING_S, IDLE_S, QUIET_S = 0.002, 0.01, 0.05
"""How long queries are waited for: while somebody waits for us, while something is on its way, and while nothing is."""
BRIEF_MS = 1.0
"""A model that takes less is no pause in which more could gather."""
COMMIT_EVERY_S = 0.1
STATS_EVERY_S = 0.05
CONFIRM_S = 1.0
"""For commits to be confirmed before a record runs alone; then it is tried at the next step."""
CLOSE_S = 4.0
SLOW_FACTOR, SLOW_FLOOR_MS = 20.0, 10_000.0
BEGIN_LIMIT_MS = 60_000.0
"""Of the questions asked when partitions are begun."""


class Instance:
    """Serves one variant; `step` is one iteration.

    Args:
        contract: of the variant.
        profile: of the variant.
        inbox: what the supervisor says.
        voice: what it is told.
        outbox: of this instance, with the broker's clock.
        partitions: what is owned.
        runner: runs batches on the engine.
        answers: how queries end.
        claims: where large values are.
        tally: what is counted.
        now: the monotonic clock, s.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        profile: Profile,
        inbox: Inbox[ToChild],
        voice: Voice,
        outbox: Outbox,
        partitions: Partitions,
        runner: Runner,
        answers: Answers,
        claims: ClaimCheck,
        tally: Tally,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected, self._profile = Conformity(contract), profile
        self._inbox, self._voice, self._outbox, self._clock = inbox, voice, outbox, outbox.clock
        self._partitions, self._runner, self._answers, self._claims = partitions, runner, answers, claims
        self._tally, self._now = tally, now
        self._held = Held(profile)
        self._flows = False
        self._pace, self._brief = Pace(), profile.latency_ms(1) < BRIEF_MS
        self._batch_limit_ms = max(SLOW_FLOOR_MS, SLOW_FACTOR * profile.latency_ms(profile.max_batch))
        self._heard_s = now()
        self._next_commit = self._next_stats = 0.0
        self._told: object = None
        self._done: tuple[int, dict[int, int]] | None = None
        """How far it was when it last told of it, having nothing in hand."""
        self.stopping = False
        voice.say(Ready())

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal, EngineLost: the process has to start again.
        """
        for message in self._inbox.take():
            self._obey(message)
        self._own()
        if self._now() - self._heard_s > LEASE_S:
            self._deliver(IDLE_S)
        else:
            self._take()
            self._run()
            self._deliver(0.0)  # after the batch: nobody waits for a report, and callers do for an answer
        self._report()
        self._voice.alive()

    def close(self) -> None:
        """Confirms and commits what is done; what was not begun is left to the next owner."""
        deadline = self._now() + CLOSE_S
        while self._answers.unconfirmed and self._now() < deadline:
            self._deliver(IDLE_S)
            self._voice.alive()
        while not self._partitions.settle(CONFIRM_S) and self._now() < deadline:
            self._voice.alive()
        self._partitions.close()
        self._outbox.close(1.0)

    # ---- what the supervisor says

    def _obey(self, message: ToChild) -> None:
        self._heard_s = self._now()
        match message:
            case Take():
                self._partitions.begin(message)
            case Release():
                self._partitions.release(message.partition)
                for work in self._held.take_partition(message.partition):
                    work.part.leave()
            case Stop():
                self.stopping = True
            case Keep():
                pass
            case Serve() | Build():
                log.warning("a second order is ignored")
            case _ as never:
                assert_never(never)

    def _own(self) -> None:
        if self._partitions.busy:
            with self._voice.batch(BEGIN_LIMIT_MS, self._partitions.furthest()):
                news = self._partitions.step()
        else:
            news = self._partitions.step()
        for message in news:
            self._voice.say(message)

    # ---- records in

    def _take(self) -> None:
        room = HELD - self._partitions.in_hand
        if not self._partitions or room <= 0:
            self._deliver(IDLE_S if not self._held else 0.0)
            return
        waiting = 0.0 if self._held or self._flows else self._patience_s()
        if self._brief and not self._held:
            self._pace.wait()
        taken = self._partitions.take(room, waiting)
        self._pace.took(len(taken))
        for part, record in taken:
            self._accept(part, record)
        if self._held:
            return
        offline = self._partitions.take_offline(min(room, self._profile.max_batch))
        self._flows = bool(offline)  # more may be there, and only online work is waited for
        for part, record in offline:
            self._accept(part, record)

    def _patience_s(self) -> float:
        """How long queries are waited for: what is confirmed meanwhile is seen no sooner."""
        if self._partitions.releasing:
            return RELEASING_S
        return IDLE_S if self._answers.unconfirmed else QUIET_S

    def _accept(self, part: Partition, record: Record) -> None:
        self._tally.count("arrived")
        try:
            work = Work.of(part, record)
        except Exception as error:  # noqa: BLE001 - it is this record's failure, whatever it is
            self._answers.failed(Work.salvaged(part, record), error, stage="headers")
            return
        if part.start.condemn and record.offset == part.begin:
            cause = f"two workers died of this record, the first was {part.start.first_worker}"
            part.start = poison.Start(part.start.alone_until)
            self._answers.failed(work, f"the query was given up: {cause}", stage="inference", code="poison")
            return
        self._held.add(work)

    # ---- batches

    def _run(self) -> None:
        if not self._held:
            return
        now_ms = self._clock.now_ms()
        for work in self._held.take_expired(now_ms):
            self._answers.expired(work, now_ms)
        if not self._held:
            return
        if self._held.next_is_alone or self._partitions.marked():
            alone = self._held.first_alone
            if alone is None:
                self._clear()
            else:
                self._run_alone(alone)
            return
        with self._announced(alone=False):
            batch = self._held.take_batch(now_ms, self._decode, lambda work: self._answers.expired(work, now_ms))
            if batch:
                self._run_batch(batch)
                self._held.ran(sum(work.rows for work in batch), self._clock.now_ms() - now_ms)

    def _run_alone(self, work: Work) -> None:
        """After a death: everything before it is confirmed and committed, with a mark, before it is even decoded."""
        if self._answers.unconfirmed:
            self._deliver(IDLE_S)
            return
        if not self._partitions.mark(work.part, work.record.offset, CONFIRM_S):
            return
        self._held.take_alone(work)
        with self._announced(alone=True):
            if self._decode(work, alone=True):
                self._run_batch([work])

    def _clear(self) -> None:
        """What ran alone is committed before anything runs together."""
        if self._answers.unconfirmed:
            self._deliver(IDLE_S)
        else:
            self._partitions.settle(CONFIRM_S)

    def _announced(self, *, alone: bool) -> AbstractContextManager[None]:
        """From a record's decoding on, the supervisor knows how far we have got: a body may kill as well as an inference."""
        return self._voice.batch(self._batch_limit_ms, self._partitions.furthest(), alone=alone)

    def _decode(self, work: Work, *, alone: bool = False) -> bool:
        """Reads a body, so that a bad one fails alone and before it is stacked; whether it can be run."""
        try:
            value = work.record.value
            if CLAIM_CHECK in work.headers:
                with self._voice.batch(self._claims.fetch_limit_ms, self._partitions.furthest(), alone=alone):
                    value = self._claims.get(value, work.headers)
            work.decode(value, self._expected)
        except Exception as error:  # noqa: BLE001 - it is this record's failure, whatever it is
            self._answers.failed(work, error, stage="decode")
            return False
        return True

    def _run_batch(self, batch: list[Work]) -> None:
        rows = sum(work.rows for work in batch)
        expected = self._profile.latency_ms(rows)
        began_ms, began = self._clock.now_ms(), time.perf_counter()
        requests = [(work.request, work.rows) for work in batch if work.request is not None]
        try:
            outputs = self._runner.run(requests)
        except InferenceFailed as error:
            self._failed(batch, error)
            return
        took = (time.perf_counter() - began) * 1000.0
        self._tally.ran(queries=len(batch), took_ms=took, expected_ms=expected)
        done_ms = self._clock.now_ms() + self._outbox.delivery_ms
        ran = Ran.of(batch_size=rows, inference_ms=took, began_ms=began_ms, done_ms=done_ms)
        with self._outbox.together():
            for work, answer in zip(batch, outputs, strict=True):
                self._answers.ok(work, answer, ran)

    def _failed(self, batch: list[Work], error: InferenceFailed) -> None:
        """Each query by itself, so that a bad one fails alone, and only if the engine still runs what it always ran."""
        if len(batch) > 1:
            for work in batch:
                with self._announced(alone=False):
                    self._run_batch([work])
            return
        self._runner.probe()
        self._answers.failed(batch[0], error, stage="inference")

    # ---- what goes out

    def _deliver(self, timeout: float) -> None:
        try:
            self._outbox.poll(timeout)
        except ProducerFatal:
            raise
        except Exception:
            # Whoever is not called back is not committed, and comes again with the next owner.
            log.exception("a delivery report could not be dealt with")

    def _report(self) -> None:
        now = self._now()
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_EVERY_S
            self._partitions.commit()
        if now >= self._next_stats:
            self._next_stats = now + STATS_EVERY_S
            self._tell_stats()

    def _tell_stats(self) -> None:
        """Says how far it is, if that is news; without work it is as far as it was."""
        done = None if self._partitions.in_hand else (self._tally.arrived, self._partitions.furthest())
        if done is not None and done == self._done:
            return
        self._done = done
        stats = self._tally.stats(self._partitions.positions(), offline=self._partitions.offline_in_hand)
        if stats != self._told:
            self._told = stats
            self._voice.say(stats)
