"""The router: stateless, so any number of them share the queries, and any may be killed at any moment.

 1. Take a batch of queries.
 2. `select()` each.
 3. Produce to the variant's partition, or a rejection to the reply address.
 4. A delivery that failed: select again; after three, the answer is `failed`.
 5. A confirmed one is done: the partition's progress advances.
 6. Commit how far each is done every 100 ms.
 7. On revoke: intake of those partitions has stopped; wait at most 2 s for what is in flight, commit, give up.
 8. On lost: drop, never commit.
 9. A fatal producer error ends the process; its supervisor starts it again.
A full producer queue pauses intake.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import replace
from zlib import crc32

import uuid_utils

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.intake import Intake
from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.refusals import refusal, refusal_of
from infaas.bus.replies import Reply, ReplyAddresses, ReplySender
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import Reporter, TelemetryReader
from infaas.router.candidates import Catalogue
from infaas.router.demand import Demand
from infaas.router.explain import explain
from infaas.router.incoming import Incoming, address_of
from infaas.router.load import Load
from infaas.router.policy import Dispatch, Query, Reject, Scene, partition_of, select
from infaas.router.settings import RouterSettings
from infaas.schemas import decisions
from infaas.schemas.errors import BadReplyAddress, InfaasError
from infaas.schemas.headers import HeaderList, ReplyAddress, travel_headers
from infaas.schemas.metadata import Variant
from infaas.schemas.reports import Backlog, RouterReport, VariantWanted, WorkerReport
from infaas.schemas.servable import Servable
from infaas.schemas.topics import DECISIONS, QUERIES, REPLIES, ROUTER_GROUP
from infaas.store.table import Table

log = logging.getLogger(__name__)
BATCH = 500
IDLE_S = 0.005
REPORT_EVERY_S = 0.5
WANT_AGAIN_S = 0.5
MAX_ATTEMPTS = 3
MAX_PENDING = 20_000
LEARN_EVERY_S = 10.0


class Router:
    """One router; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this router.
    """

    def __init__(self, *, settings: BusSettings, own: RouterSettings) -> None:
        self._names, self._own = settings.names, own
        self._boot_id = str(uuid_utils.uuid7())
        name = f"{own.name}-{self._boot_id[-6:]}"
        self._outbox = Outbox(settings, client_id=name)
        self._clock = self._outbox.clock
        self._table = Table(settings, client_id=name)
        self._telemetry = TelemetryReader(settings, client_id=name)
        self._reporter = Reporter(self._outbox, settings)
        self._dead = DeadLetters(self._outbox, settings, service="router")
        self._sender = ReplySender(self._outbox, settings, dead_letters=self._dead)
        self._addresses = ReplyAddresses(self._outbox, settings, allowed=own.reply_topics)
        self._default = ReplyAddress(settings.names.of(REPLIES))
        self._load, self._demand = Load(), Demand()
        self._catalogue, self._catalogue_version = Catalogue({}, {}), -1
        self._open_views: Counter[int] = Counter()
        self._partitions: dict[str, tuple[int, float]] = {}
        self._wanted: dict[str, float] = {}
        self._sequence = self.dispatched = self.rejected = 0
        self._next_report = 0.0
        self._table.open()
        self._intake = Intake(
            settings,
            topics=[settings.names.of(QUERIES)],
            group=settings.names.group(ROUTER_GROUP),
            client_id=name,
            drain=self._drain,
        )

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal: the process has to start anew.
        """
        self._follow()
        records = self._intake.take(BATCH, IDLE_S)
        scenes: dict[tuple[str, ...], Scene] = {}
        for record in records:
            self._handle(record, scenes)
        self._gaps()
        self._outbox.poll(0)
        if self._outbox.pending > MAX_PENDING:
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

    # ---- what we know

    def _follow(self) -> None:
        changes = self._table.poll(0)
        view = self._table.view()
        for report, at_ms in self._telemetry.poll(0):
            if isinstance(report, Backlog | WorkerReport):
                self._load.report(report, view, at_ms)
        if changes and view.catalogue_version != self._catalogue_version:
            self._load.forget(view)
        if view.catalogue_version != self._catalogue_version:
            self._catalogue = Catalogue(view.variants, view.architectures)
            self._catalogue_version = view.catalogue_version

    def _scene(self, variants: tuple[str, ...], scenes: dict[tuple[str, ...], Scene]) -> Scene:
        """What runs; of a batch of like queries it is made once, and anew after each send to where it matters."""
        found = scenes.get(variants)
        if found is None:
            found = self._load.scene(self._table.view(), variants, self._clock.now_ms(), self._placeable)
            scenes[variants] = found
        return found

    def _placeable(self, variant: str) -> bool:
        """Whether any worker that is there could hold it; the scaler may still start another."""
        view = self._table.view()
        record: Variant = view.variants[variant]
        assert record.profile is not None
        fits = [
            w
            for w in view.live_workers.values()
            if record.recipe.platform in w.hardware.platforms
            and record.recipe.cores <= w.hardware.cores
            and record.profile.peak_memory_bytes <= w.hardware.memory_bytes
        ]
        return bool(fits)

    # ---- one query

    def _handle(self, record: Record, scenes: dict[tuple[str, ...], Scene]) -> None:
        address = self._default
        try:
            address = address_of(record, self._addresses)
            incoming = Incoming.of(record, address)
        except BadReplyAddress as error:
            self._refuse(record, refusal_of(record, self._default, error))
            return
        except InfaasError as error:
            if error.retryable:
                raise
            self._refuse(record, refusal_of(record, address, error))
            return
        self._decide(incoming, scenes)

    def _decide(self, incoming: Incoming, scenes: dict[tuple[str, ...], Scene]) -> None:
        objective, travel = incoming.objective, incoming.travel
        if not self._catalogue.known(objective.scope, objective.name):
            known = ", ".join(self._catalogue.names(objective.scope)[:10]) or "none"
            message = f"unknown {objective.scope} {objective.name}; known are: {known}"
            self._reject(incoming, Reject(f"unknown_{objective.scope}", message), None, ())
            return
        if travel.attempt >= MAX_ATTEMPTS:
            self._fail(incoming, "no_instance", f"{travel.attempt} variants could not be started for it")
            return
        eligible = self._catalogue.eligible(objective)
        now_ms = self._clock.now_ms()
        if travel.drop_after_ms < now_ms:
            self._count(incoming, eligible, rejected=True)
            message = f"the deadline passed {now_ms - travel.drop_after_ms:.1f} ms ago, before the router saw the query"
            reply = refusal(incoming.record, travel.reply, outcome="expired", code="expired", message=message, identity=travel.query_id)  # fmt: skip
            self._send_reply(incoming.record, reply)
            return
        everything = self._catalogue.all_of(objective.scope, objective.name)
        names = tuple(one.variant for one in everything)
        scene = self._scene(names, scenes)
        query = Query(objective, travel.deadline_ms - now_ms, frozenset(travel.excluded), travel.drop_after_ms - now_ms)
        decision = select(eligible, everything, scene, query, travel.query_id)
        match decision:
            case Reject():
                self._count(incoming, eligible, rejected=True)
                self._reject(incoming, decision, scene, eligible)
            case Dispatch():
                self._count(incoming, eligible, rejected=False)
                self._dispatch(incoming, decision, scene, eligible)
                scenes.pop(names, None)

    def _count(self, incoming: Incoming, eligible: tuple[Servable, ...], *, rejected: bool) -> None:
        if incoming.travel.attempt or incoming.attempts:
            return  # counted when it first came
        objective, travel = incoming.objective, incoming.travel
        span = travel.deadline_ms - travel.appended_ms
        names = tuple(one.variant for one in eligible)
        if names:
            self._demand.count(objective, None if math.isinf(span) else max(0.1, span), names, rejected=rejected)

    # ---- where it goes

    def _dispatch(self, incoming: Incoming, decision: Dispatch, scene: Scene, eligible: tuple[Servable, ...]) -> None:
        variant, travel = decision.variant, incoming.travel
        offline = incoming.objective.offline
        topic = self._names.offline(variant) if offline else self._names.work(variant)
        try:
            partition = self._choose_partition(variant, topic, decision, travel.query_id)
        except InfaasError as error:
            self._again(incoming, str(error))
            return
        if decision.instance is None:
            self._want(variant, travel.deadline_ms)
        marked = replace(travel, mark=decision.mark) if decision.mark else travel
        headers: HeaderList = travel_headers(marked, incoming.record.headers)
        seen = self._table.view().offset
        self._open_views[seen] += 1
        if not offline:
            self._load.sending(variant, partition)

        def confirmed(delivery: Delivery) -> None:
            self._close_view(seen)
            if not offline:
                offset = None if delivery.error else delivery.offset
                self._load.sent(variant, partition, offset, delivery.timestamp_ms)
            if delivery.error is None:
                self._intake.done(incoming.record)
            else:
                self._again(incoming, str(delivery.error))

        try:
            self._outbox.send(
                topic,
                key=travel.query_id,
                value=incoming.record.value,
                headers=headers,
                partition=partition,
                on_done=confirmed,
            )
        except InfaasError as error:
            self._close_view(seen)
            if not offline:
                self._load.sent(variant, partition, None)
            if error.code == "producer_fatal":
                raise
            self._again(incoming, str(error))
            return
        self.dispatched += 1
        if incoming.objective.explain or crc32(travel.query_id.encode()) < self._own.sample * 2**32:
            self._explain(incoming, decision, scene, eligible)

    def _choose_partition(self, variant: str, topic: str, decision: Dispatch, salt: str) -> int:
        count, asked_at = self._partitions.get(topic, (0, 0.0))
        wanted = decision.instance.partitions if decision.instance else ()
        now = time.monotonic()
        # A warm producer refuses a partition it has not been told of.
        if count == 0 or (wanted and max(wanted) >= count) or now - asked_at > LEARN_EVERY_S:
            count = self._outbox.learn(topic)
            self._partitions[topic] = (count, now)
        if wanted:
            return partition_of(wanted, salt)
        assignment = self._table.view().assignments.get(variant)
        owned = [p for p, one in enumerate(assignment.partitions) if one.owner] if assignment else []
        return partition_of(owned or range(max(1, count)), salt)

    def _want(self, variant: str, deadline_ms: float) -> None:
        now = time.monotonic()
        self._load.want(variant, self._clock.now_ms())
        if now - self._wanted.get(variant, 0.0) >= WANT_AGAIN_S:
            self._wanted[variant] = now
            deadline = None if math.isinf(deadline_ms) else deadline_ms
            self._reporter.send(VariantWanted(variant=variant, router=self._boot_id, deadline_ms=deadline), variant)

    def _again(self, incoming: Incoming, why: str) -> None:
        """A delivery failed: it is selected anew."""
        incoming.attempts += 1
        if not self._intake.holds(incoming.record):
            return  # somebody else has it now
        if incoming.attempts >= MAX_ATTEMPTS:
            self._fail(incoming, "delivery_failed", f"it could not be delivered to a worker: {why}")
            return
        self._decide(incoming, {})

    # ---- refusals

    def _fail(self, incoming: Incoming, code: str, message: str) -> None:
        travel = incoming.travel
        reply = refusal(
            incoming.record, travel.reply, outcome="failed", code=code, message=message, identity=travel.query_id
        )
        self._send_reply(incoming.record, reply)

    def _reject(
        self, incoming: Incoming, decision: Reject, scene: Scene | None, eligible: tuple[Servable, ...]
    ) -> None:
        travel = incoming.travel
        reply = refusal(
            incoming.record,
            travel.reply,
            outcome="rejected",
            code=decision.code,
            message=decision.message,
            identity=travel.query_id,
            suggestion=decision.suggestion,
        )
        self._refuse(incoming.record, reply)
        self._explain(incoming, decision, scene or Scene(), eligible)

    def _refuse(self, record: Record, reply: Reply) -> None:
        self.rejected += 1
        self._send_reply(record, reply)

    def _send_reply(self, record: Record, reply: Reply) -> None:
        seen = self._table.view().offset
        self._open_views[seen] += 1

        def done() -> None:
            self._close_view(seen)
            self._intake.done(record)

        self._sender.send(reply, done)

    def _explain(
        self, incoming: Incoming, decision: Dispatch | Reject, scene: Scene, eligible: tuple[Servable, ...]
    ) -> None:
        record = explain(
            incoming, decision, scene, eligible, view_offset=self._table.view().offset, now_ms=self._clock.now_ms()
        )
        try:
            self._outbox.send(self._names.of(DECISIONS), key=incoming.travel.query_id, value=decisions.encode(record))
        except InfaasError as error:
            log.debug("decision record dropped", extra={"error": str(error)})

    # ---- the rest

    def _gaps(self) -> None:
        """Queries that were deleted before anybody read them."""
        for gap in self._intake.gaps:
            self._dead.put_raw(
                key=None,
                value=None,
                headers=[],
                where=(gap.topic, gap.partition, gap.first),
                stage="intake",
                cause=f"offsets {gap.first} to {gap.last} were deleted unread",
            )
        self._intake.gaps.clear()

    def _close_view(self, seen: int) -> None:
        self._open_views[seen] -= 1
        if self._open_views[seen] <= 0:
            del self._open_views[seen]

    def _drain(self, deadline: float) -> None:
        while self._intake.pending and time.monotonic() < deadline:
            self._outbox.poll(0.01)

    def _report(self) -> None:
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + REPORT_EVERY_S
        self._sequence += 1
        view = self._table.view()
        report = RouterReport(
            router=self._own.name,
            boot_id=self._boot_id,
            member_id=self._intake.member_id,
            sequence=self._sequence,
            view_offset=min([view.offset, *self._open_views]),
            classes=self._demand.classes(),
            dispatched=self.dispatched,
            rejected=self.rejected,
        )
        self._reporter.send(report, f"router/{self._boot_id}")
