"""Work that nobody can run goes to `returns`, so that another variant answers it.

 1. Read a partition without an owner from max(committed, low watermark) to its end.
 2. Answer `expired` to what is past its time. Produce every other record to `returns`: what travels is kept, attempt + 1, this
    variant excluded.
 3. When all are confirmed, commit as far as was read. What was sent meanwhile is returned the next time.
A query may so be answered twice, never not at all; the router refuses it after three attempts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from infaas.bus.admin import Admin
from infaas.bus.backlog import Waiting
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.refusals import Refusal
from infaas.bus.replies import ReplySender
from infaas.bus.settings import BusSettings
from infaas.bus.span import SpanReader
from infaas.schemas.errors import DeliveryFailed, InfaasError, PayloadTooLarge, ProducerFatal
from infaas.schemas.headers import Outcome, Travel, parse_travel, travel_headers
from infaas.schemas.topics import RETURNS

log = logging.getLogger(__name__)
AT_ONCE = 2000  # records a piece: what is confirmed is committed, and a new leader need not begin again
CONFIRM_S = 8.0
Partition = tuple[str, int]
"""Topic and number."""


class Returns:
    """Returns work, a bounded piece at a time; one thread calls it, not the leader's loop.

    Args:
        settings: of the cell.
        admin: commits; nobody else commits through it.
        name: shown by the broker.
    """

    def __init__(self, settings: BusSettings, *, admin: Admin, name: str) -> None:
        self._topic, self._admin = settings.names.of(RETURNS), admin
        self._outbox = Outbox(settings, client_id=f"{name}-returns")
        self._reader = SpanReader(settings, client_id=f"{name}-returns")
        self._dead = DeadLetters(self._outbox, settings, service="scaler")
        self._replies = ReplySender(self._outbox, settings, dead_letters=self._dead)

    def give_back(self, variant: str, waiting: Sequence[Waiting]) -> dict[Partition, int]:
        """Returns what waits in these partitions, of each the first piece; returns how far each is committed.

        Raises:
            KafkaUnavailable, DeliveryFailed: nothing of that partition is committed then, and it is tried again.
        """
        return {(w.topic, w.partition): self._give_back(variant, w) for w in waiting}

    def _give_back(self, variant: str, waiting: Waiting) -> int:
        end = min(waiting.end, waiting.begin + AT_ONCE)
        records = self._reader.read(waiting.topic, waiting.partition, waiting.begin, end)
        unsettled: set[int] = set()
        failed: list[InfaasError] = []
        for record in records:
            self._send(variant, record, unsettled, failed)
        deadline = time.monotonic() + CONFIRM_S
        while unsettled and not failed and time.monotonic() < deadline:
            self._outbox.poll(0.01)
        if failed or unsettled:
            raise failed[0] if failed else DeliveryFailed(f"{len(unsettled)} returned records were not confirmed")
        self._admin.commit_work({(waiting.topic, waiting.partition): end})
        log.info("returned", extra={"variant": variant, "partition": waiting.partition, "records": len(records)})
        return end

    def close(self) -> None:
        """Stops reading and sending."""
        self._reader.close()
        self._outbox.close()

    def _send(self, variant: str, record: Record, unsettled: set[int], failed: list[InfaasError]) -> None:
        unsettled.add(record.offset)

        def settled() -> None:
            unsettled.discard(record.offset)

        try:
            travel = parse_travel(record.header_map)
            if travel.drop_after_ms < self._outbox.clock.now_ms():
                self._refuse(record, travel, "expired", "expired", "no worker could run it in time", settled)
            else:
                self._produce(variant, record, travel, settled, failed)
        except ProducerFatal:
            raise
        except Exception as error:  # noqa: BLE001 - a record's failure is that record's
            self._dead.put(record, stage="return", cause=error, on_done=settled)

    def _produce(
        self, variant: str, record: Record, travel: Travel, settled: Callable[[], None], failed: list[InfaasError]
    ) -> None:
        def confirmed(delivery: Delivery) -> None:
            if delivery.error is None:
                settled()
            elif isinstance(delivery.error, PayloadTooLarge):
                refuse()
            else:
                failed.append(delivery.error)

        def refuse() -> None:
            message = "no worker could run it, and it is too large to be tried elsewhere"
            self._refuse(record, travel, "failed", "no_instance", message, settled)

        excluded = travel.excluded if variant in travel.excluded else (*travel.excluded, variant)
        onward = replace(travel, attempt=travel.attempt + 1, excluded=excluded, mark="")
        headers = travel_headers(onward, record.headers)
        try:
            self._outbox.send(self._topic, key=record.key, value=record.value, headers=headers, on_done=confirmed)
        except PayloadTooLarge:
            refuse()

    def _refuse(
        self, record: Record, travel: Travel, outcome: Outcome, code: str, message: str, settled: Callable[[], None]
    ) -> None:
        refusal = Refusal(outcome=outcome, code=code, message=message)
        reply = refusal.reply(record, travel.reply, identity=travel.query_id, until_ms=travel.drop_after_ms)
        self._replies.send(reply, settled)
