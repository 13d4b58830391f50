"""What a router itself answers: no, too late, failed. Each ends a query: when it is confirmed, the query is done.

A query that can't be read, or whose handling raises whatever it may be, is answered and goes to the dead letters as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.record import Record
from infaas.bus.refusals import Refusal
from infaas.bus.replies import Reply, ReplySender
from infaas.bus.settings import BusSettings
from infaas.router.incoming import Envelope, Incoming
from infaas.router.open_views import OpenViews
from infaas.router.policy import Reject
from infaas.schemas.errors import InfaasError
from infaas.store.table import Table

log = logging.getLogger(__name__)


class Answers:
    """Replies that a router makes.

    Args:
        outbox: of the router.
        settings: of the cell.
        dead_letters: of the router.
        table: whose offset an answer stands on.
        views: where unconfirmed sends are counted.
        done: called with a record whose answer is confirmed.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        settings: BusSettings,
        dead_letters: DeadLetters,
        table: Table,
        views: OpenViews,
        done: Callable[[Record], None],
    ) -> None:
        self._outbox, self._dead, self._table, self._views, self._done = outbox, dead_letters, table, views, done
        self._sender = ReplySender(outbox, settings, dead_letters=dead_letters)
        self.rejected = 0

    def reject(self, incoming: Incoming, decision: Reject) -> None:
        """Nothing meets the objective."""
        self.rejected += 1
        refusal = Refusal(
            outcome="rejected",
            code=decision.code,
            message=decision.message,
            suggestion=decision.suggestion,
            retry_after_ms=decision.retry_after_ms,
        )
        self._end(incoming.envelope, refusal)

    def expire(self, incoming: Incoming, message: str) -> None:
        """Nobody wants it any more."""
        self._end(incoming.envelope, Refusal(outcome="expired", code="expired", message=message))

    def fail(self, incoming: Incoming, code: str, message: str) -> None:
        """It can't be brought to a worker."""
        self._end(incoming.envelope, Refusal(outcome="failed", code=code, message=message))

    def refuse(self, envelope: Envelope, error: InfaasError) -> None:
        """It can't be read; one that the system itself had returned has failed by that."""
        self.rejected += not envelope.returned
        self._end(envelope, Refusal.of(error, "failed" if envelope.returned else "rejected"), error)

    def contain(self, envelope: Envelope, error: Exception) -> None:
        """Its handling raised what nobody expected: that is this query's end, never the process's."""
        log.error("a query could not be handled", extra={"query_id": envelope.identity}, exc_info=error)
        message = f"the router could not handle it: {type(error).__name__}"
        self._end(envelope, Refusal(outcome="failed", code="internal", message=message), error)

    def _end(self, envelope: Envelope, refusal: Refusal, error: Exception | None = None) -> None:
        offset = self._views.open(self._table.view().offset)
        open_ends = 1 if error is None else 2

        def settled() -> None:
            nonlocal open_ends
            open_ends -= 1
            if open_ends == 0:
                self._views.close(offset)
                self._done(envelope.record)

        if error is not None:
            self._dead.put(envelope.record, stage="router", cause=error, on_done=settled)
        self._sender.send(_reply(envelope, refusal), settled)


def _reply(envelope: Envelope, refusal: Refusal) -> Reply:
    return refusal.reply(
        envelope.record,
        envelope.address,
        identity=envelope.identity,
        correlation=envelope.correlation,
        until_ms=envelope.until_ms,
    )
