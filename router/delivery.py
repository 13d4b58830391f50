"""Queries on their way to a work topic, and those that did not arrive.

What failed is kept, and selected again by the loop after `poll`: never inside a delivery callback, where waiting for room in a
full queue would be waiting for oneself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.router.incoming import Incoming
from infaas.router.load import Load
from infaas.router.open_views import OpenViews
from infaas.router.policy import Dispatch, partition_of
from infaas.schemas.errors import InfaasError, ProducerFatal
from infaas.schemas.headers import HeaderList, travel_headers
from infaas.schemas.topics import TopicNames
from infaas.store.table import Table
from infaas.store.view import View

LEARN_EVERY_S = 10.0
AGAIN_S = 0.05  # doubled with each attempt after the first, which is at once
AGAIN_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A query whose delivery failed."""

    incoming: Incoming
    error: InfaasError
    due_s: float
    """When it is to be selected again, on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class _Sending:
    """A query on its way to a partition."""

    incoming: Incoming
    variant: str
    partition: int
    view_offset: int
    """Of the view on which this was decided."""


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
        self._partitions: dict[str, tuple[int, float]] = {}
        self._undelivered: list[Undelivered] = []
        self.dispatched = 0

    def send(self, incoming: Incoming, decision: Dispatch) -> None:
        """Sends a query where it was decided; what fails, now or later, is among the undelivered.

        Raises:
            ProducerFatal: the process has to start again.
        """
        variant, offline = decision.variant, incoming.objective.offline
        topic = self._names.offline(variant) if offline else self._names.work(variant)
        try:
            partition = self._choose_partition(topic, decision, incoming.travel.query_id)
        except ProducerFatal:
            raise
        except InfaasError as error:
            self._fail(incoming, error)
            return
        sending = _Sending(incoming, variant, partition, self._views.open(self._table.view().offset))
        if not offline:
            self._load.sending(variant, partition)
        try:
            self._outbox.send(
                topic,
                key=incoming.record.key,
                value=incoming.record.value,
                headers=_headers(incoming, decision),
                partition=partition,
                on_done=partial(self._ended, sending),
            )
        except ProducerFatal:
            raise
        except InfaasError as error:
            self._ended(sending, Delivery(topic, partition, -1, 0.0, error))
            return
        self.dispatched += 1

    def _ended(self, sending: _Sending, delivery: Delivery) -> None:
        incoming = sending.incoming
        self._views.close(sending.view_offset)
        if not incoming.objective.offline:
            stands_at = None if delivery.error else delivery.offset
            until_ms = incoming.travel.drop_after_ms
            self._load.sent(sending.variant, sending.partition, stands_at, delivery.timestamp_ms, until_ms)
        if delivery.error is None:
            self._done(incoming.record)
        else:
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

    def _choose_partition(self, topic: str, decision: Dispatch, salt: str) -> int:
        count, asked_at = self._partitions.get(topic, (0, 0.0))
        wanted = decision.instance.partitions if decision.instance else ()
        now = time.monotonic()
        # A warm producer refuses a partition it has not been told of.
        if count == 0 or (wanted and max(wanted) >= count) or now - asked_at > LEARN_EVERY_S:
            count = self._outbox.learn(topic)
            self._partitions[topic] = (count, now)
        if wanted:
            return partition_of(wanted, salt)
        assignment = self._table.view().assignments.get(decision.variant)
        owned = [p for p, ownership in enumerate(assignment.partitions) if ownership.owner] if assignment else []
        return partition_of(owned or range(max(1, count)), salt)


def _headers(incoming: Incoming, decision: Dispatch) -> HeaderList:
    travel = replace(incoming.travel, mark=decision.mark) if decision.mark else incoming.travel
    original: list[tuple[str, bytes | str | None]] = [*incoming.record.headers]
    if incoming.envelope.correlation is not None:
        original.append(incoming.envelope.correlation)
    return travel_headers(travel, original)
