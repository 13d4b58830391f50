"""Queries on their way to a work topic, and those that did not arrive.

What failed is kept, and selected again by the loop after `poll`: never inside a delivery callback, where waiting for room in a
full queue would be waiting for oneself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.router.incoming import Incoming
from infaas.router.load import Load
from infaas.router.open_views import OpenViews
from infaas.router.policy import Dispatch
from infaas.router.running import RunningAt
from infaas.schemas.errors import InfaasError, ProducerFatal, UnknownTopic
from infaas.schemas.headers import HeaderList, travel_headers, travelling
from infaas.schemas.topics import TopicNames
from infaas.store.table import Table
from infaas.store.view import View

AGAIN_S = 0.05  # doubled with each attempt after the first, which is at once
AGAIN_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A query whose delivery failed."""

    incoming: Incoming
    error: InfaasError
    due_s: float
    """When it is to be selected again, on the monotonic clock."""


class _Sending:
    """A query on its way to a partition; called when it is known what became of it."""

    __slots__ = ("_deliveries", "incoming", "partition", "to", "variant", "view_offset")

    def __init__(
        self,
        deliveries: Deliveries,
        incoming: Incoming,
        variant: str,
        partition: int,
        to: RunningAt | None,
        view_offset: int,
    ) -> None:
        self._deliveries, self.incoming, self.variant, self.partition = deliveries, incoming, variant, partition
        self.to = to
        """The instance it goes to; None = whoever will run."""
        self.view_offset = view_offset
        """Of the view on which this was decided."""

    def __call__(self, delivery: Delivery) -> None:
        self._deliveries.ended(self, delivery)


class Deliveries:
    """Sends queries to the partition of a variant.

    Args:
        outbox: of the router.
        names: of the cell's topics.
        table: tells which partitions have an owner.
        load: counts what is sent.
        views: where unconfirmed sends are counted.
        done: called with a record whose delivery is confirmed.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        names: TopicNames,
        table: Table,
        load: Load,
        views: OpenViews,
        done: Callable[[Record], None],
    ) -> None:
        self._outbox, self._names, self._table, self._load = outbox, names, table, load
        self._views, self._done = views, done
        self._partitions: dict[str, int] = {}
        self._undelivered: list[Undelivered] = []
        self.dispatched = 0
        self.turn = 0
        """Raised now and then: of an instance's partitions one is used for a while, since each costs the broker an append."""

    def send(self, incoming: Incoming, decision: Dispatch) -> None:
        """Sends a query where it was decided; what fails, now or later, is among the undelivered.

        Raises:
            ProducerFatal: the process has to start again.
        """
        variant, offline = decision.variant, incoming.objective.offline
        topic = self._names.offline(variant) if offline else self._names.work(variant)
        to = None if offline else decision.instance
        try:
            partition = self._choose_partition(topic, decision)
        except ProducerFatal:
            raise
        except InfaasError as error:
            self._fail(incoming, error)
            return
        sending = _Sending(self, incoming, variant, partition, to, self._views.open(self._table.view().offset))
        if not offline:
            now_ms = self._outbox.clock.now_ms()
            self._load.sending(variant, partition, to, now_ms, incoming.travel.deadline_ms)
        try:
            self._outbox.send(
                topic,
                key=incoming.record.key,
                value=incoming.record.value,
                headers=_headers(incoming, decision),
                partition=partition,
                on_done=sending,
            )
        except ProducerFatal:
            raise
        except InfaasError as error:
            self.ended(sending, Delivery(topic, partition, -1, 0.0, error))
            return
        self.dispatched += 1

    def ended(self, sending: _Sending, delivery: Delivery) -> None:
        """It is confirmed, or failed."""
        incoming = sending.incoming
        self._views.close(sending.view_offset)
        if not incoming.objective.offline:
            self._load.sent(
                sending.variant,
                sending.partition,
                None if delivery.error else delivery.offset,
                delivery.timestamp_ms,
                incoming.travel.drop_after_ms,
                to=sending.to,
                deadline_ms=incoming.travel.deadline_ms,
            )
        if delivery.error is None:
            self._load.hops.observe(delivery.took_s * 1000.0, delivery.timestamp_ms)
            self._done(incoming.record)
        else:
            if isinstance(delivery.error, UnknownTopic):
                self._partitions.pop(delivery.topic, None)  # asked for again when it is tried again
            self._fail(incoming, delivery.error)

    def undelivered(self, now_s: float) -> list[Undelivered]:
        """Takes those that are due to be selected again."""
        due = [failed for failed in self._undelivered if failed.due_s <= now_s]
        if due:
            self._undelivered = [failed for failed in self._undelivered if failed.due_s > now_s]
        return due

    def forget(self, view: View) -> None:
        """Drops what is known of topics whose variant is no longer there."""
        kept = {topic for name in view.variants for topic in (self._names.work(name), self._names.offline(name))}
        self._partitions = {topic: known for topic, known in self._partitions.items() if topic in kept}

    def _fail(self, incoming: Incoming, error: InfaasError) -> None:
        pause_s = min(AGAIN_MAX_S, AGAIN_S * 2**incoming.attempts) if incoming.attempts else 0.0
        incoming.attempts += 1
        self._undelivered.append(Undelivered(incoming, error, time.monotonic() + pause_s))

    def _choose_partition(self, topic: str, decision: Dispatch) -> int:
        wanted = decision.instance.partitions if decision.instance else ()
        count = self._partitions.get(topic, 0)
        if count == 0 or (wanted and max(wanted) >= count):
            # A warm producer refuses a partition it has not been told of.
            count = self._partitions[topic] = self._outbox.learn(topic)
        if wanted:
            return wanted[self.turn % len(wanted)]
        assignment = self._table.view().assignments.get(decision.variant)
        owned = [p for p, ownership in enumerate(assignment.partitions) if ownership.owner] if assignment else []
        places = owned or range(max(1, count))
        return places[self.turn % len(places)]


def _headers(incoming: Incoming, decision: Dispatch) -> HeaderList:
    travel = replace(incoming.travel, mark=decision.mark) if decision.mark else incoming.travel
    if incoming.onward is not None:
        return [*incoming.onward, *travelling(travel)]
    original: list[tuple[str, bytes | str | None]] = [*incoming.record.headers]
    if incoming.envelope.correlation is not None:
        original.append(incoming.envelope.correlation)
    return travel_headers(travel, original)
