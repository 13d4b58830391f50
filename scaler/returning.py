"""Work that nobody can run goes back to `queries`, so that another variant answers it.

 1. Read a partition without an owner from max(committed, low watermark) to its end.
 2. Produce each record to `queries` again: query id and deadlines kept, attempt + 1, this variant excluded.
 3. When all are confirmed, commit as far as was read. What was sent meanwhile is returned the next time.
A query may so be answered twice, never not at all; the router refuses it after three attempts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from infaas.bus.admin import Admin
from infaas.bus.backlog import Waiting
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.refusals import refusal
from infaas.bus.replies import ReplySender
from infaas.bus.settings import BusSettings
from infaas.bus.span import SpanReader
from infaas.schemas.errors import BadInput, DeliveryFailed, InfaasError, PayloadTooLarge
from infaas.schemas.headers import parse_travel, travel_headers
from infaas.schemas.topics import QUERIES

log = logging.getLogger(__name__)
AT_ONCE = 2000  # records a step: the leader has ticks to write meanwhile
CONFIRM_S = 8.0


class Returns:
    """Returns work, a bounded piece at a time."""

    def __init__(self, settings: BusSettings, *, admin: Admin, outbox: Outbox) -> None:
        self._queries, self._outbox, self._admin = settings.names.of(QUERIES), outbox, admin
        self._reader = SpanReader(settings, client_id="scaler-returns")
        self._dead = DeadLetters(outbox, settings, service="scaler")
        self._replies = ReplySender(outbox, settings, dead_letters=self._dead)

    def give_back(self, variant: str, waiting: Waiting) -> int:
        """Returns what waits in one partition; returns how many records.

        Raises:
            KafkaUnavailable, DeliveryFailed: nothing is committed then, and it is tried again.
        """
        end = min(waiting.end, waiting.begin + AT_ONCE)
        records = self._reader.read(waiting.topic, waiting.partition, waiting.begin, end)
        open_: set[int] = set()
        failed: list[InfaasError] = []
        for record in records:
            self._send(variant, record, open_, failed)
        deadline = time.monotonic() + CONFIRM_S
        while open_ and not failed and time.monotonic() < deadline:
            self._outbox.poll(0.01)
        if failed or open_:
            raise failed[0] if failed else DeliveryFailed(f"{len(open_)} returned records were not confirmed")
        self._admin.commit_work({(waiting.topic, waiting.partition): end})
        log.info("returned", extra={"variant": variant, "partition": waiting.partition, "records": len(records)})
        return len(records)

    def close(self) -> None:
        """Stops reading."""
        self._reader.close()

    def _send(self, variant: str, record: Record, open_: set[int], failed: list[InfaasError]) -> None:
        open_.add(record.offset)

        def settled() -> None:
            open_.discard(record.offset)

        def confirmed(delivery: Delivery) -> None:
            if delivery.error is None:
                settled()
            elif isinstance(delivery.error, PayloadTooLarge):
                self._refuse(record, settled)
            else:
                failed.append(delivery.error)

        try:
            travel = parse_travel(record.header_map)
        except BadInput as error:
            self._dead.put(record, stage="return", cause=error, on_done=settled)
            return
        excluded = travel.excluded if variant in travel.excluded else (*travel.excluded, variant)
        headers = travel_headers(
            replace(travel, attempt=travel.attempt + 1, excluded=excluded, mark=""), record.headers
        )
        try:
            self._outbox.send(self._queries, key=record.key, value=record.value, headers=headers, on_done=confirmed)
        except PayloadTooLarge:
            self._refuse(record, settled)

    def _refuse(self, record: Record, settled: Callable[[], None]) -> None:
        """With its headers grown it no longer fits where it came from: the caller is told."""
        travel = parse_travel(record.header_map)
        message = "no worker could run it, and it is too large to be tried elsewhere"
        reply = refusal(
            record, travel.reply, outcome="failed", code="no_instance", message=message, identity=travel.query_id
        )
        self._replies.send(reply, settled)
