"""Leadership by claim, without a lock service and without transactions.

A claim is a record in the metadata topic and its offset there is the epoch. Everything the leader writes carries the epoch,
and readers ignore what was written under an older one. So two who think they lead do no harm.

1. A standby follows the view, and remembers every key whose last record it ignored (`Table.dirty`).
2. After 2 s without the leader's ticks (plus jitter) it writes a claim with a nonce.
3. When it reads its own nonce, it has read everything before its claim: the nonce's offset is its epoch.
4. It writes the dirty keys again, or tombstones where it has no value, before anything else.
5. Leading, it ticks every 0.2 s (the registrar, whose ticks measure nobody's silence, every 0.5 s), and writes again whatever it reads of a deposed leader.
6. On a later claim it steps down.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import uuid_utils

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas import metadata, reports
from infaas.schemas.errors import Fenced, InfaasError
from infaas.schemas.headers import epoch_headers
from infaas.schemas.metadata import Leader, Role
from infaas.schemas.reports import AnyReport, Tick
from infaas.schemas.topics import METADATA, TELEMETRY
from infaas.store.table import Table

log = logging.getLogger(__name__)
TICK_EVERY_S: Mapping[Role, float] = {"scaler": 0.2, "registrar": 0.5}
SILENCE_S = 2.0
JITTER_S = 0.5
CLAIM_TIMEOUT_S = 3.0
RESIGNED = -1


@dataclass(frozen=True, slots=True)
class Status:
    """What a leader says of itself, for people who watch."""

    headroom: Mapping[str, float] = field(default_factory=dict)
    """By application."""
    cost_per_hour: float = 0.0


class Leadership:
    """One candidate's part; `step` is called often by the service's loop, after it polled table and outbox.

    Args:
        settings: of the cell.
        role: what is led.
        table: the view, which the service polls.
        outbox: the service's producer.
    """

    def __init__(self, settings: BusSettings, *, role: Role, table: Table, outbox: Outbox) -> None:
        self._metadata, self._telemetry = settings.names.of(METADATA), settings.names.of(TELEMETRY)
        self._role: Role = role
        self._table, self._outbox = table, outbox
        self._nonce: str | None = None
        self._claimed_at = 0.0
        self._heard_at = time.monotonic()
        self._patience = SILENCE_S + random.uniform(0.0, JITTER_S)
        self._sequence = 0
        self._next_tick = 0.0
        self._repaired: dict[str, int] = {}
        self._in_flight: Counter[str] = Counter()
        self._written: dict[str, int] = {}  # key → offset after our last confirmed record
        self._last_written = -1
        self.epoch = -1
        self.is_leader = False
        self.status = Status()
        """Shown in the ticks; the service's to set."""

    def observe(self, report: AnyReport) -> None:
        """Takes in a leader's tick; other reports are ignored."""
        if (
            isinstance(report, Tick)
            and report.role == self._role
            and report.epoch == self._table.epochs.get(self._role)
        ):
            self._heard_at = time.monotonic() - (self._patience if report.sequence == RESIGNED else 0.0)

    def step(self) -> None:
        """Claims, takes over, ticks, repairs or steps down, as the view demands."""
        now, newest = time.monotonic(), self._table.epochs.get(self._role, -1)
        if self.is_leader and newest != self.epoch:
            log.info("deposed", extra={"role": self._role, "epoch": self.epoch, "newer": newest})
            self._step_down(now)
        if self.is_leader:
            self._repair()
            if now >= self._next_tick:
                self._tick(now)
        elif self._nonce is None:
            if newest < 0 or now - self._heard_at >= self._patience:
                self._claim(now)
        elif self._nonce in self._table.claims:
            self._take_over(now, newest)
        elif now - self._claimed_at > CLAIM_TIMEOUT_S:
            self._step_down(now)

    def write(self, record: metadata.Record, on_done: Callable[[Delivery], None] | None = None) -> None:
        """Queues a record under our epoch.

        Raises:
            Fenced: if we do not lead.
        """
        self._send(record.key, metadata.encode(record), on_done)

    def delete(self, key: str, on_done: Callable[[Delivery], None] | None = None) -> None:
        """Queues a tombstone under our epoch.

        Raises:
            Fenced: if we do not lead.
        """
        self._send(key, None, on_done)

    def settled(self, offset: int) -> bool:
        """Whether everything written under our epoch is confirmed, or has failed, and stands below an offset of the view."""
        return not self._in_flight.total() and offset > self._last_written

    def resign(self) -> None:
        """Says that we stop, so that a standby need not wait."""
        if self.is_leader:
            self._report(RESIGNED)
            self.is_leader = False

    def _send(self, key: str, value: bytes | None, on_done: Callable[[Delivery], None] | None = None) -> None:
        if not self.is_leader:
            raise Fenced(f"not the leading {self._role}")

        def done(delivery: Delivery) -> None:
            self._in_flight[key] -= 1
            if not self._in_flight[key]:
                del self._in_flight[key]
            if delivery.error is None:
                self._written[key] = max(delivery.offset + 1, self._written.get(key, 0))
                self._last_written = max(self._last_written, delivery.offset)
            if on_done is not None:
                on_done(delivery)

        self._outbox.send(
            self._metadata, key=key, value=value, headers=epoch_headers(self.epoch), partition=0, on_done=done
        )
        self._in_flight[key] += 1

    def _claim(self, now: float) -> None:
        self._nonce, self._claimed_at = str(uuid_utils.uuid7()), now
        record = Leader(role=self._role, nonce=self._nonce, claimed_at_ms=int(self._outbox.clock.now_ms()))
        self._outbox.send(self._metadata, key=record.key, value=metadata.encode(record), partition=0)

    def _take_over(self, now: float, newest: int) -> None:
        assert self._nonce is not None
        epoch = self._table.claims[self._nonce]
        if epoch != newest:
            self._step_down(now)
            return
        self.epoch, self.is_leader, self._repaired = epoch, True, {}
        self._written.clear()
        log.info("leading", extra={"role": self._role, "epoch": epoch})
        self._repair()
        self._tick(now)

    def _step_down(self, now: float) -> None:
        self.is_leader, self._nonce, self.epoch = False, None, -1
        self._heard_at, self._patience = now, SILENCE_S + random.uniform(0.0, JITTER_S)

    def _repair(self) -> None:
        """Writes again what a deposed leader overwrote; each key once a view, until our record is read back."""
        dirty = self._table.dirty[self._role]
        if not dirty:
            self._repaired.clear()
            return
        view = self._table.view()
        for key in sorted(dirty):
            if self._repaired.get(key) == view.offset or self._pending(key, view.offset):
                continue
            record = view.get(key)
            try:
                self._send(key, None if record is None else metadata.encode(record), partial(self._repair_sent, key))
            except InfaasError as error:
                log.warning("repair", extra={"key": key, "error": str(error)})
                return
            self._repaired[key] = view.offset

    def _repair_sent(self, key: str, delivery: Delivery) -> None:
        """One that is not confirmed is written again, whether or not the view moves meanwhile."""
        if delivery.error is not None:
            self._repaired.pop(key, None)

    def _pending(self, key: str, offset: int) -> bool:
        """Whether we have written the key and not read it yet: the view's value is older than ours."""
        return self._in_flight[key] > 0 or offset < self._written.get(key, 0)

    def _tick(self, now: float) -> None:
        self._next_tick = now + TICK_EVERY_S[self._role]
        self._sequence += 1
        self._report(self._sequence)

    def _report(self, sequence: int) -> None:
        tick = Tick(
            role=self._role,
            epoch=self.epoch,
            sequence=sequence,
            headroom=dict(self.status.headroom),
            cost_per_hour=self.status.cost_per_hour,
        )
        self._outbox.send(self._telemetry, key=f"tick/{self._role}", value=reports.encode(tick), partition=0)
