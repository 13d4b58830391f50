"""What a router itself answers: no, too late, failed. Each ends a query: when it is confirmed, the query is done.

A query that can't be read, or whose handling raises whatever it may be, is answered and goes to the dead letters as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.record import Record
from infaas.bus.refusals import refusal
from infaas.bus.replies import Reply, ReplySender
from infaas.bus.settings import BusSettings
from infaas.router.incoming import Envelope, Incoming
from infaas.router.open_views import OpenViews
from infaas.router.policy import Reject
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import Outcome
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
        self._end(
            incoming.envelope,
            _reply(
                incoming.envelope,
                "rejected",
                decision.code,
                decision.message,
                suggestion=decision.suggestion,
                retry_after_ms=decision.retry_after_ms,
            ),
        )

    def expire(self, incoming: Incoming, message: str) -> None:
        """Nobody wants it any more."""
        self._end(incoming.envelope, _reply(incoming.envelope, "expired", "expired", message))

    def fail(self, incoming: Incoming, code: str, message: str) -> None:
        """It can't be brought to a worker."""
        self._end(incoming.envelope, _reply(incoming.envelope, "failed", code, message))

    def refuse(self, envelope: Envelope, error: InfaasError) -> None:
        """It can't be read; one that the system itself had returned has failed by that."""
        self.rejected += not envelope.returned
        field = getattr(error, "field", None)
        outcome: Outcome = "failed" if envelope.returned else "rejected"
        self._end(envelope, _reply(envelope, outcome, error.code, str(error), field=field), error)

    def contain(self, envelope: Envelope, error: Exception) -> None:
        """Its handling raised what nobody expected: that is this query's end, never the process's."""
        log.error("a query could not be handled", extra={"query_id": envelope.identity}, exc_info=error)
        message = f"the router could not handle it: {type(error).__name__}"
        self._end(envelope, _reply(envelope, "failed", "internal", message), error)

    def _end(self, envelope: Envelope, reply: Reply, error: Exception | None = None) -> None:
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
        self._sender.send(reply, settled)


def _reply(
    envelope: Envelope,
    outcome: Outcome,
    code: str,
    message: str,
    *,
    suggestion: str | None = None,
    field: str | None = None,
    retry_after_ms: float | None = None,
) -> Reply:
    return refusal(
        envelope.record,
        envelope.address,
        outcome=outcome,
        code=code,
        message=message,
        identity=envelope.identity,
        suggestion=suggestion,
        field=field,
        retry_after_ms=retry_after_ms,
        correlation=envelope.correlation,
    )
