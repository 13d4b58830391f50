"""The router: stateless, so any number of them share the queries, and any may be killed at any moment.

 1. Take a batch of queries, and of those that the scaler returned.
 2. Judge each (`judgement`).
 3. Produce to the variant's partition, or a rejection to the reply address.
 4. A delivery that failed: select again, after `poll`; until nobody wants it any more, or at once `failed` where no
    second try can help.
 5. A confirmed one is done: the partition's progress advances.
 6. Commit how far each is done every 100 ms.
 7. On revoke: intake of those partitions has stopped; wait at most 2 s for what is in flight, commit, give up.
 8. On lost: drop, never commit.
 9. A fatal producer error ends the process; its supervisor starts it again. Nothing else does: whatever is raised while one
    query is handled is that query's end (`failed`, and a dead letter with the trace).
A full producer queue pauses intake.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import assert_never

import uuid_utils

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.intake import Gap, Intake
from infaas.bus.outbox import Outbox
from infaas.bus.record import Record
from infaas.bus.reply_addresses import ReplyAddresses
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import Reporter, TelemetryReader
from infaas.host.pace import Pace
from infaas.router.answers import Answers
from infaas.router.candidates import Catalogue
from infaas.router.delivery import Deliveries, Undelivered
from infaas.router.demand import Demand
from infaas.router.incoming import Envelope, Incoming, Reader
from infaas.router.journal import Journal
from infaas.router.judgement import Ended, Judgement, judge
from infaas.router.load import Load
from infaas.router.open_views import OpenViews
from infaas.router.policy import Dispatch, Reject, Scene
from infaas.router.settings import RouterSettings
from infaas.schemas.errors import InfaasError, ProducerFatal
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.reports import Backlog, RouterReport, VariantWanted, WorkerReport
from infaas.schemas.topics import QUERIES, REPLIES, RETURNS, ROUTER_GROUP
from infaas.store.table import Table

BATCH = 500
TOGETHER = 32
"""Queries that go out together: the first of them waits for as many choices."""
IDLE_S, QUIET_S = 0.005, 0.05
"""How long queries are waited for: while something is on its way, and while nothing is."""
REPORT_EVERY_S = 0.5
TURN_S = 0.1
WANT_AGAIN_S = 0.5
MAX_PENDING = 20_000
GIVE_UP_S = 300.0  # a query without a deadline that could not be delivered for so long has failed


class Router:
    """One router; `step` is one iteration.

    Args:
        settings: of the cell.
        own: its name, what it allows and samples.
    """

    def __init__(self, *, settings: BusSettings, own: RouterSettings) -> None:
        names, self._own = settings.names, own
        self._boot_id = str(uuid_utils.uuid7())
        name = f"{own.name}-{self._boot_id[-6:]}"
        self._outbox = Outbox(settings, client_id=name)
        self._clock = self._outbox.clock
        self._table = Table(settings, client_id=name)
        self._telemetry = TelemetryReader(settings, client_id=name)
        self._reporter = Reporter(self._outbox, settings)
        self._dead = DeadLetters(self._outbox, settings, service="router")
        self._reader = Reader(ReplyAddresses(self._outbox, settings, allowed=own.reply_topics))
        self._default, self._returns = ReplyAddress(names.of(REPLIES)), names.of(RETURNS)
        self._load, self._demand, self._views = Load(), Demand(), OpenViews()
        self._answers = Answers(
            outbox=self._outbox,
            settings=settings,
            dead_letters=self._dead,
            table=self._table,
            views=self._views,
            done=self._done,
        )
        self._journal = Journal(self._outbox, settings, table=self._table, sample=own.sample)
        self._deliveries = Deliveries(
            outbox=self._outbox, names=names, table=self._table, load=self._load, views=self._views, done=self._done
        )
        self._catalogue, self._catalogue_version = Catalogue({}, {}), -1
        self._moment: dict[tuple[str, ...], Scene] = {}
        self._unread: deque[Envelope] = deque()
        self._pace = Pace()
        self._wanted_at_s: dict[str, float] = {}
        self._sequence, self._next_report_s = 0, 0.0
        self._table.open()
        self._intake = Intake(
            settings,
            topics=[names.of(QUERIES), self._returns],
            group=names.group(ROUTER_GROUP),
            client_id=name,
            drain=self._drain,
        )

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal: the process has to start again.
        """
        self._pace.wait()
        taken = self._intake.take(BATCH, IDLE_S if self._outbox.pending or self._intake.pending else QUIET_S)
        self._pace.took(len(taken))
        self._follow()  # after the wait: what is decided is decided on what is known then
        self._moment.clear()
        self._deliveries.turn = int(time.monotonic() / TURN_S)
        self._reselect()
        for record in taken:
            self._unread.append(Envelope(record, self._default, returned=record.topic == self._returns))
        waits = False
        while self._unread and not waits:
            with self._outbox.together():
                waits = not self._handle_some()
        self._report_gaps()
        self._outbox.poll(0)
        if max(self._outbox.pending, self._intake.pending) > MAX_PENDING:
            self._intake.pause()
        else:
            self._intake.resume()
        self._intake.commit()
        self._report()

    def close(self) -> None:
        """Stop intake, drain, flush, commit, close."""
        self._drain(time.monotonic() + 5.0)
        self._intake.close()
        self._outbox.close()
        self._table.close()
        self._telemetry.close()

    @property
    def dispatched(self) -> int:
        """Queries sent to a worker."""
        return self._deliveries.dispatched

    # ---- what we know

    def _follow(self) -> None:
        changes = self._table.poll(0)
        view = self._table.view()
        for report, at_ms in self._telemetry.poll(0):
            if isinstance(report, Backlog | WorkerReport | VariantWanted):
                self._load.report(report, view, at_ms)
        if changes:
            self._load.learn_starts(view, self._clock.now_ms())
        if view.catalogue_version != self._catalogue_version:
            self._load.forget(view)
            self._deliveries.forget(view)
            self._wanted_at_s = {name: at for name, at in self._wanted_at_s.items() if name in view.variants}
            self._catalogue = Catalogue(view.variants, view.architectures)
            self._catalogue_version = view.catalogue_version

    def _scene(self, variants: tuple[str, ...]) -> Scene:
        """What runs of these variants: brought up to date once a batch, and changed by each send."""
        scene = self._moment.get(variants)
        if scene is None:
            scene = self._load.scene(self._table.view(), variants, self._clock.now_ms())
            self._moment[variants] = scene
        return scene

    # ---- one query

    def _handle_some(self) -> bool:
        """Handles a few, which go out together; False if the next has to be tried again."""
        for _ in range(min(TOGETHER, len(self._unread))):
            if not self._handle(self._unread[0]):
                return False
            self._unread.popleft()
        return True

    def _handle(self, envelope: Envelope) -> bool:
        """Handles one record; False if it has to be tried again, since no broker says what has to be known."""
        try:
            incoming = self._reader.read(envelope, self._clock.now_ms())
            if envelope.returned:
                self._load.returned(incoming.travel.excluded[-1:], envelope.record.timestamp_ms)
        except ProducerFatal:
            raise
        except InfaasError as error:
            if error.retryable:
                return not self._intake.holds(envelope.record)
            self._answers.refuse(envelope, error)
            self._journal.unread(envelope, error)
        except Exception as error:  # noqa: BLE001 - one query's, never the process's
            self._answers.contain(envelope, error)
        else:
            self._attempt(incoming)
        return True

    def _attempt(self, incoming: Incoming) -> None:
        try:
            self._decide(incoming)
        except ProducerFatal:
            raise
        except Exception as error:  # noqa: BLE001 - one query's, never the process's
            self._answers.contain(incoming.envelope, error)

    def _decide(self, incoming: Incoming) -> None:
        judgement = judge(incoming, self._catalogue, self._scene, self._clock.now_ms())
        self._count(incoming, judgement)
        self._journal.decided(incoming, judgement)  # before a dispatch changes the scene
        match judgement.decision:
            case Dispatch() as decision:
                self._dispatch(incoming, decision)
            case Reject() as decision:
                self._answers.reject(incoming, decision)
            case Ended("Expire", _, message):
                self._answers.expire(incoming, message)
            case Ended(_, code, message):
                self._answers.fail(incoming, code, message)
            case _:
                assert_never(judgement.decision)

    def _count(self, incoming: Incoming, judgement: Judgement) -> None:
        if incoming.travel.attempt or incoming.attempts:
            return  # counted when it first came
        objective, travel = incoming.objective, incoming.travel
        span_ms = travel.deadline_ms - travel.appended_ms
        names = judgement.plan.eligible_names
        rejected = not isinstance(judgement.decision, Dispatch)
        if names:
            self._demand.count(objective, None if math.isinf(span_ms) else max(0.1, span_ms), names, rejected=rejected)

    def _dispatch(self, incoming: Incoming, decision: Dispatch) -> None:
        if decision.instance is None:
            self._want(decision.variant, incoming.travel.deadline_ms)
        self._deliveries.send(incoming, decision)

    def _fail(self, incoming: Incoming, code: str, message: str) -> None:
        self._answers.fail(incoming, code, message)
        self._journal.decided(incoming, Judgement(Ended("Fail", code, message)))

    def _want(self, variant: str, deadline_ms: float) -> None:
        now_s = time.monotonic()
        self._load.want(variant, self._table.view(), self._clock.now_ms())
        if now_s - self._wanted_at_s.get(variant, 0.0) >= WANT_AGAIN_S:
            self._wanted_at_s[variant] = now_s
            deadline = None if math.isinf(deadline_ms) else deadline_ms
            self._reporter.send(VariantWanted(variant=variant, router=self._boot_id, deadline_ms=deadline), variant)

    def _reselect(self) -> None:
        """What could not be delivered is decided again, and so sent elsewhere, or there again, or refused."""
        for undelivered in self._deliveries.undelivered(time.monotonic()):
            if self._intake.holds(undelivered.incoming.record):  # else somebody else has it now
                self._again(undelivered)

    def _again(self, undelivered: Undelivered) -> None:
        incoming, error = undelivered.incoming, undelivered.error
        waited_s = (self._clock.now_ms() - incoming.travel.appended_ms) / 1000.0
        if not error.retryable:
            self._fail(incoming, error.code, f"it can't be delivered to a worker: {error}")
        elif math.isinf(incoming.travel.drop_after_ms) and waited_s > GIVE_UP_S:
            self._fail(incoming, "delivery_failed", f"not delivered to a worker in {waited_s:.0f} s: {error}")
        else:
            self._attempt(incoming)

    # ---- the rest

    def _done(self, record: Record) -> None:
        self._intake.done(record)

    def _report_gaps(self) -> None:
        """Queries that are gone before anybody could answer them: the range is done when its dead letter is confirmed."""
        gaps, self._intake.gaps = self._intake.gaps, []
        for gap in gaps:
            self._report_gap(gap)

    def _report_gap(self, gap: Gap) -> None:
        self._dead.put_raw(
            key=None,
            value=None,
            headers=[],
            where=(gap.topic, gap.partition, gap.first),
            stage="intake",
            cause=f"offsets {gap.first} to {gap.last} were {'read, and then cut off' if gap.cut else 'deleted unread'}",
            on_done=lambda: self._intake.settle(gap),
        )

    def _drain(self, deadline_s: float) -> None:
        while self._intake.pending and time.monotonic() < deadline_s:
            self._outbox.poll(0.01)
            self._reselect()

    def _report(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_report_s:
            return
        self._next_report_s = now_s + REPORT_EVERY_S
        self._journal.step()
        self._sequence += 1
        view = self._table.view()
        report = RouterReport(
            router=self._own.name,
            boot_id=self._boot_id,
            member_id=self._intake.member_id,
            sequence=self._sequence,
            view_offset=self._views.oldest(view.offset),
            classes=self._demand.classes(),
            dispatched=self._deliveries.dispatched,
            rejected=self._answers.rejected,
        )
        self._reporter.send(report, f"router/{self._boot_id}")
