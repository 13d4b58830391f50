"""What was decided about queries, for people: refusals, a sample of dispatches and whoever asks, on `decisions`."""

from __future__ import annotations

import logging
from zlib import crc32

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.router.explain import explain, explain_unread, explain_unrecorded
from infaas.router.incoming import Envelope, Incoming
from infaas.router.judgement import Judgement
from infaas.router.policy import Dispatch
from infaas.router.ration import Ration
from infaas.schemas import decisions
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.errors import InfaasError
from infaas.schemas.topics import DECISIONS
from infaas.store.table import Table

log = logging.getLogger(__name__)
LISTED = 8
"""Candidates in a record that nobody has asked for: with 40 of them one took as long as five queries."""


class Journal:
    """Writes decision records; one that can't be written is not missed.

    Of refusals the first of each second (`Ration`), and how many others there were; whoever asks for a record has one.

    Args:
        outbox: of the router.
        settings: of the cell.
        table: whose offset a decision stands on.
        sample: share of the dispatches that leave a record.
    """

    def __init__(self, outbox: Outbox, settings: BusSettings, *, table: Table, sample: float) -> None:
        self._outbox, self._table, self._sample = outbox, table, sample
        self._topic = settings.names.of(DECISIONS)
        self._ration = Ration()

    def decided(self, incoming: Incoming, judgement: Judgement) -> None:
        """A query that could be read; of dispatches that nobody asks about a sample is written down."""
        objective, decision = incoming.objective, judgement.decision
        sampled = crc32(incoming.travel.query_id.encode()) < self._sample * 2**32
        if sampled or objective.explain or (not isinstance(decision, Dispatch) and self._allows(decision.code)):
            offset, now_ms = self._table.view().offset, self._outbox.clock.now_ms()
            most = None if objective.explain else LISTED
            self._write(explain(incoming, judgement, view_offset=offset, now_ms=now_ms, most=most))

    def unread(self, envelope: Envelope, error: InfaasError) -> None:
        """A query that could not be read."""
        if not self._allows(error.code):
            return
        offset, now_ms = self._table.view().offset, self._outbox.clock.now_ms()
        self._write(explain_unread(envelope, error, view_offset=offset, now_ms=now_ms))

    def step(self) -> None:
        """Tells, once a second, how many refusals have left no record."""
        now_ms = self._outbox.clock.now_ms()
        unrecorded = self._ration.close(now_ms)
        if unrecorded is not None:
            self._write(explain_unrecorded(unrecorded, view_offset=self._table.view().offset, now_ms=now_ms))

    def _allows(self, code: str) -> bool:
        return self._ration.allows(code, self._outbox.clock.now_ms())

    def _write(self, record: DecisionRecord) -> None:
        try:
            self._outbox.send(self._topic, key=record.about, value=decisions.encode(record))
        except InfaasError as error:
            log.debug("decision record dropped", extra={"error": str(error)})
