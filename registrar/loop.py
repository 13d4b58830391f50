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
from infaas.bus.settings import BusSettings
from infaas.registrar.fold import fold
from infaas.registrar.handler import Handler
from infaas.registrar.ledger import Ledger
from infaas.registrar.settings import RegistrarSettings
from infaas.registrar.stalls import Stalls
from infaas.schemas.errors import InfaasError, PayloadTooLarge
from infaas.schemas.metadata import Variant
from infaas.store.candidate import Candidate
from infaas.store.lane import Lane
from infaas.store.view import View

log = logging.getLogger(__name__)
IDLE_S, BUSY_S = 0.05, 0.01
"""How long metadata is waited for: while there is nothing to do, and while a command is in hand."""
LOOK_EVERY_S = 1.0
TOPICS_S = 60.0


class Registrar:
    """One candidate; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this registrar.
    """

    def __init__(self, *, settings: BusSettings, own: RegistrarSettings) -> None:
        self._names = settings.names
        self._candidate = Candidate(settings, role="registrar", name=own.name, needs_reports=False)
        self.leadership, self._outbox = self._candidate.leadership, self._candidate.outbox
        self._admin = Admin(settings, client_id=own.name)
        self._topics_lane = Lane("topics", deadline_s=TOPICS_S)
        self._ledger = Ledger(settings, leadership=self.leadership, outbox=self._outbox)
        self._handler = Handler(settings, own=own, outbox=self._outbox, ledger=self._ledger)
        self._topics: frozenset[str] = frozenset()
        """As they were when last asked for; a name that is not there is made before its variant is ready."""
        self._next_topics = self._next_look = 0.0
        self._folded = -1
        self._stalls = Stalls()

    def step(self) -> None:
        """One iteration of the loop.

        Raises:
            ProducerFatal: the process has to start again.
        """
        self._candidate.step(BUSY_S if self._handler.busy or self._topics_lane.busy else IDLE_S)
        if not self._candidate.leads:
            self._handler.drop()
            self._topics = frozenset()  # another makes and deletes them now
            return
        view = self._candidate.view
        try:
            self._topics_lane.step(self.leadership.epoch)
            if self._ledger.seen(view):
                self._fold(view)
            self._handler.step(view, self.leadership.epoch)
        except InfaasError as error:
            if not error.retryable:
                raise
            log.warning("a step is given up", extra={"error": str(error)})

    def close(self) -> None:
        """Resigns, so that a standby need not wait, neither for us nor for a broker; the command in hand comes again."""
        self._handler.drop()
        self._candidate.close()
        self._handler.close()
        if self._topics_lane.close():
            self._admin.close()

    def _fold(self, view: View) -> None:
        now = time.monotonic()
        if view.offset == self._folded and now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        changes = fold(view, topic_gone=self._topic_gone, stalled=self._stalls.update(view, now))
        missing = [
            r.variant for r in changes.records if isinstance(r, Variant) and r.state == "ready" and not self._has_topics(r.variant)
        ]  # fmt: skip
        self._see_to_topics(missing, retired=any(v.state == "retired" for v in view.variants.values()), now=now)
        for record in changes.records:
            if isinstance(record, Variant) and record.variant in missing:
                continue  # its topics come first: a router could send to it
            try:
                self._ledger.write(record, view=view)
            except PayloadTooLarge as error:  # of before there were limits: it stays as it is, and stops nobody else
                log.error("a record is too large", extra={"key": record.key, "error": str(error)})  # noqa: TRY400
        for key in changes.deleted:
            self._ledger.delete(key)
        self._folded = -1 if missing else view.offset

    def _see_to_topics(self, missing: list[str], *, retired: bool, now: float) -> None:
        """Makes what is missing, and looks what is gone, beside the loop."""
        if self._topics_lane.busy or not (missing or (retired and now >= self._next_topics)):
            return
        self._next_topics = now + LOOK_EVERY_S

        def see() -> frozenset[str]:
            for variant in missing:
                self._admin.ensure_variant_topics(variant)
            return frozenset(self._admin.topics())

        self._topics_lane.start("topics", see, self._seen, epoch=self.leadership.epoch)

    def _seen(self, topics: frozenset[str]) -> None:
        self._topics, self._folded = topics, -1

    def _has_topics(self, variant: str) -> bool:
        return self._topics >= {self._names.work(variant), self._names.offline(variant)}

    def _topic_gone(self, variant: str) -> bool:
        """Only once the topics were looked at: nothing seen is not gone."""
        return bool(self._topics) and not self._topics & {self._names.work(variant), self._names.offline(variant)}
