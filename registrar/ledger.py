"""What the registrar writes, and which of it the view does not show yet.

Every decision is a function of the view, so none may be made on a view that lacks our own last records: a fold of an old
picture would write an architecture's old version over the one that was just accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas import decisions
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import Architecture, Variant
from infaas.schemas.topics import DECISIONS
from infaas.store.leadership import Leadership
from infaas.store.view import View

log = logging.getLogger(__name__)


class Ledger:
    """Writes catalogue records under the leader's epoch, and says on `decisions` what was written.

    Args:
        settings: of the cell.
        leadership: whose epoch the records carry.
        outbox: for the decisions.
    """

    def __init__(self, settings: BusSettings, *, leadership: Leadership, outbox: Outbox) -> None:
        self._topic = settings.names.of(DECISIONS)
        self._leadership, self._outbox = leadership, outbox
        self._open = 0
        self._last = -1

    def write(
        self, record: Architecture | Variant, *, view: View, failed: Callable[[InfaasError], None] | None = None
    ) -> None:
        """Queues a record; `failed` hears if it was not confirmed.

        Raises:
            Fenced: if we do not lead.
        """

        def done(delivery: Delivery) -> None:
            self._done(delivery)
            if delivery.error is not None and failed is not None:
                failed(delivery.error)

        self._leadership.write(record, done)
        self._open += 1
        self._say(record, view)

    def delete(self, key: str) -> None:
        """Queues a tombstone.

        Raises:
            Fenced: if we do not lead.
        """
        self._leadership.delete(key, self._done)
        self._open += 1

    def seen(self, view: View) -> bool:
        """Whether all that was written is in this picture.

        Read back while we still lead, a record counts for every reader: no later claim stands before it.
        """
        return self._open == 0 and self._last < view.offset

    def _done(self, delivery: Delivery) -> None:
        self._open -= 1
        if delivery.error is None:
            self._last = max(self._last, delivery.offset)
        else:
            log.warning("a record was not written", extra={"error": str(delivery.error)})

    def _say(self, record: Architecture | Variant, view: View) -> None:
        about = record.architecture if isinstance(record, Architecture) else record.variant
        log.info("decided", extra={"about": about, "state": record.state, "reason": record.reason})
        decision = DecisionRecord(
            by="registrar",
            about=about,
            decision=record.state.capitalize(),
            reason=record.reason,
            view_offset=view.offset,
            at_ms=int(self._outbox.clock.now_ms()),
        )
        self._outbox.send(self._topic, key=about, value=decisions.encode(decision))
