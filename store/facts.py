"""A worker's facts, level-triggered: what is so is written until the view shows it; nothing depends on one write arriving.

1. A record is written under the boot id as soon as it is known, and kept here.
2. In each `step` the view is compared with what is kept. What differs is written again, unless a write of it is on its way:
   not yet reported, or confirmed at an offset the view has not reached.
3. State (`worker/…`, `instance/…`) is kept until it is deleted: whoever overwrites it is overwritten. Findings (`built/…`,
   `profile/…`) are kept until they are read back: afterwards they are the registrar's, who may delete them.
4. A key that should not be there gets a tombstone, in the same way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas import metadata
from infaas.schemas.errors import InfaasError, ProducerFatal
from infaas.schemas.headers import boot_headers
from infaas.schemas.metadata import worker_of
from infaas.schemas.topics import METADATA
from infaas.store.table import Change
from infaas.store.view import View

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Fact:
    """What should stand under a key, and how far that is."""

    record: metadata.Record | None
    """None = nothing: a tombstone."""
    in_flight: int = 0
    written: int = -1
    """Offset of the last confirmed write; -1 = none."""
    overwritten: bool = False
    """An ignored record of an earlier life came last: compaction would keep that one."""


class FactWriter:
    """Writes metadata records under one boot id.

    Args:
        outbox: whose callbacks the service serves.
        settings: of the cell.
        boot_id: of this life.
    """

    def __init__(self, outbox: Outbox, settings: BusSettings, boot_id: str) -> None:
        self._outbox, self._topic, self.boot_id = outbox, settings.names.of(METADATA), boot_id
        self._facts: dict[str, Fact] = {}
        self.failed = False
        """Whether a write was not confirmed since the last `step`."""

    def write(self, record: metadata.Record) -> None:
        """Writes a record, and again until the view shows it."""
        self._set(record.key, record)

    def delete(self, key: str) -> None:
        """Writes a tombstone, and again until the view shows nothing."""
        self._set(key, None)

    def notice(self, change: Change) -> None:
        """A record was read."""
        fact = self._facts.get(change.key)
        if fact is None:
            return
        fact.overwritten = change.ignored and change.writer != self.boot_id
        arrived = change.writer == self.boot_id and change.record == fact.record
        if arrived and (fact.record is None or worker_of(change.key) is None):
            del self._facts[change.key]

    def step(self, view: View) -> None:
        """Writes what differs."""
        self.failed = False
        for key, fact in list(self._facts.items()):
            if fact.in_flight or fact.written >= view.offset:
                continue
            differs = view.get(key) != fact.record
            if differs or fact.overwritten:
                self._send(key, fact)
            elif fact.record is None:
                del self._facts[key]

    def __contains__(self, key: object) -> bool:
        """Whether something is kept under a key, or being deleted."""
        return key in self._facts

    def _set(self, key: str, record: metadata.Record | None) -> None:
        fact = self._facts.setdefault(key, Fact(record))
        fact.record = record
        self._send(key, fact)

    def _send(self, key: str, fact: Fact) -> None:
        def done(delivery: Delivery) -> None:
            fact.in_flight -= 1
            if delivery.error is None:
                fact.written = max(fact.written, delivery.offset)
            else:
                self.failed = True
                log.warning("a fact was not confirmed", extra={"key": key, "error": str(delivery.error)})

        value = None if fact.record is None else metadata.encode(fact.record)
        try:
            self._outbox.send(
                self._topic, key=key, value=value, headers=boot_headers(self.boot_id), partition=0, on_done=done
            )
        except ProducerFatal:
            raise
        except InfaasError as error:  # too large or not allowed, too: that is this fact's end, not the supervisor's
            self.failed = True
            log.warning("a fact was not written", extra={"key": key, "error": str(error)})
        else:
            fact.in_flight += 1
