"""How a query ends at an instance: every way out is an answer that is confirmed, whatever goes wrong on the way.

What fails is answered with `failed` and kept as a dead letter with the trace; it is done when both are confirmed. Making an answer
may fail as well: then that is how the query failed. Only a producer that can't go on ends the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.replies import Reply, ReplySender
from infaas.schemas.errors import ProducerFatal
from infaas.schemas.oip import Array
from infaas.workers.replies import Ran, Replies
from infaas.workers.tally import Tally
from infaas.workers.work import Work

log = logging.getLogger(__name__)


class Answers:
    """Answers the queries of one instance.

    Args:
        replies: makes them.
        sender: delivers them.
        dead_letters: keeps what failed.
        tally: what is counted.
    """

    def __init__(self, *, replies: Replies, sender: ReplySender, dead_letters: DeadLetters, tally: Tally) -> None:
        self._replies, self._sender, self._dead, self._tally = replies, sender, dead_letters, tally
        self.unconfirmed = 0
        """Queries that are answered, and not yet known to be."""

    def ok(self, work: Work, outputs: dict[str, Array], ran: Ran) -> None:
        """The engine has answered."""
        queue_ms = ran.queue_ms(work)
        self._tally.waited(queue_ms)
        try:
            assert work.request is not None
            reply = self._replies.ok(work, work.request, outputs, ran, queue_ms)
        except Exception as error:  # noqa: BLE001 - it is this query's failure, whatever it is
            self.failed(work, error, stage="encode")
            return
        self._tally.count("answered")
        self._send(work, reply, self._pending(work, 1))

    def expired(self, work: Work, now_ms: float) -> None:
        """Nobody waits for it any more."""
        self._tally.count("expired")
        self._send(work, self._replies.expired(work, now_ms), self._pending(work, 1))

    def failed(self, work: Work, error: Exception | str, *, stage: str, code: str | None = None) -> None:
        """It can't be answered."""
        self._tally.count("failed")
        confirm = self._pending(work, 2)
        self._keep(work, error, stage, confirm)
        self._send(work, self._replies.failed(work, error, code), confirm)

    def _pending(self, work: Work, parts: int) -> Callable[[], None]:
        """What is to be called once for each part of an answer; after the last one the query is done."""
        left = parts
        self.unconfirmed += 1

        def confirm() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self.unconfirmed -= 1
                work.part.done(work.record.offset)

        return confirm

    def _send(self, work: Work, reply: Reply, confirm: Callable[[], None]) -> None:
        try:
            self._sender.send(reply, confirm)
        except ProducerFatal:
            raise
        except Exception as error:  # noqa: BLE001 - a reply that can't be sent is kept
            self._keep(work, error, "reply", confirm)

    def _keep(self, work: Work, error: Exception | str, stage: str, confirm: Callable[[], None]) -> None:
        try:
            self._dead.put(work.record, stage=stage, cause=error, on_done=confirm)
            return
        except ProducerFatal:
            raise
        except Exception:
            log.exception("a record that can't be kept whole", extra={"record": repr(work.record)})
        where = (work.record.topic, work.record.partition, work.record.offset)
        value = work.record.value
        self._dead.put_raw(key=None, value=value, headers=[], where=where, stage=stage, cause=error, on_done=confirm)
