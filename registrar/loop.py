"""The registrar: one leader by claim, any number of standbys.

Each step:
 1. Follow metadata and telemetry; claim, tick, repair or step down. Commands are consumed while leading, never else.
 2. Drive what is registered (fold.py): plan, fold what builds found, make topics, mark what is dominated, retire. Not before
    all that was written is read back.
 3. Go on with the command in hand (handler.py). It is decided on a view of which all consequences are drawn: what was
    unregistered before it has no variant left.
A registrar that is killed goes on where it was: a command that was not answered comes again, and all else is in the view.
"""

from __future__ import annotations

import logging
import time

from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import TelemetryReader
from infaas.registrar.fold import fold
from infaas.registrar.handler import Handler
from infaas.registrar.ledger import Ledger
from infaas.registrar.settings import RegistrarSettings
from infaas.schemas.errors import InfaasError, PayloadTooLarge
from infaas.schemas.metadata import Variant
from infaas.store.leadership import Leadership
from infaas.store.table import Table
from infaas.store.view import View

log = logging.getLogger(__name__)
IDLE_S = 0.02
LOOK_EVERY_S = 1.0


class Registrar:
    """One candidate; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this registrar.
    """

    def __init__(self, *, settings: BusSettings, own: RegistrarSettings) -> None:
        self._names = settings.names
        self._outbox = Outbox(settings, client_id=own.name)
        self._table = Table(settings, client_id=own.name)
        self._telemetry = TelemetryReader(settings, client_id=own.name)
        self._admin = Admin(settings, client_id=own.name)
        self.leadership = Leadership(settings, role="registrar", table=self._table, outbox=self._outbox)
        self._ledger = Ledger(settings, leadership=self.leadership, outbox=self._outbox)
        self._handler = Handler(settings, own=own, outbox=self._outbox, ledger=self._ledger)
        self._topics: frozenset[str] = frozenset()
        self._topics_until = self._next_look = 0.0
        self._folded = -1
        self._table.open()

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal: the process has to start anew.
        """
        self._table.poll(IDLE_S)
        self._outbox.poll(0)
        for report, _ in self._telemetry.poll(0):
            self.leadership.observe(report)
        self.leadership.step()
        if not self.leadership.is_leader:
            self._handler.drop()
            return
        view = self._table.view()
        try:
            if self._ledger.seen(view):
                self._fold(view)
            self._handler.step(view)
        except InfaasError as error:
            if not error.retryable:
                raise
            log.warning("a step is given up", extra={"error": str(error)})

    def close(self) -> None:
        """Resigns, so that a standby need not wait; the command in hand comes again."""
        self._handler.drop()
        self.leadership.resign()
        self._outbox.close()
        self._table.close()
        self._telemetry.close()
        self._admin.close()

    def _fold(self, view: View) -> None:
        now = time.monotonic()
        if view.offset == self._folded and now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        changes = fold(view, topic_gone=self._topic_gone)
        for record in changes.records:
            if isinstance(record, Variant) and record.state == "ready":
                self._admin.ensure_variant_topics(record.variant)  # before a router can send to it
            try:
                self._ledger.write(record, view=view)
            except PayloadTooLarge as error:  # of before there were limits: it stays as it is, and stops nobody else
                log.error("a record is too large", extra={"key": record.key, "error": str(error)})  # noqa: TRY400
        for key in changes.deleted:
            self._ledger.delete(key)
        self._folded = view.offset

    def _topic_gone(self, variant: str) -> bool:
        now = time.monotonic()
        if now >= self._topics_until:
            self._topics, self._topics_until = frozenset(self._admin.topics()), now + LOOK_EVERY_S
        return not self._topics & {self._names.work(variant), self._names.offline(variant)}
