"""One command at a time, from the topic to its answer.

1. Take a command. It stays in hand until it is answered: an error that may pass is met again in the next step.
2. Check the reply address, read the command, look at the model in a child process. What asks the broker something has a lane
   of its own: the loop's thread ticks, and waits for no answer.
3. Write `accepted` (or `retired`).
4. Read that record back while still leading. What is written after a later claim is ignored by every reader, so it must not
   be acknowledged: the command then stays uncommitted, and is the next leader's.
5. Reply → confirmed → commit.
A command may so be handled twice: what is registered already is answered and not registered again.
"""

from __future__ import annotations

import logging
import time

import orjson

from infaas.bus.control import Commands, Pending
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.refusals import Refusal
from infaas.bus.replies import Reply, ReplySender
from infaas.bus.reply_addresses import ReplyAddresses
from infaas.bus.repository import Repository
from infaas.bus.settings import BusSettings
from infaas.registrar.checking import Checking
from infaas.registrar.commands import accept, already, check, replaced, retire
from infaas.registrar.ledger import Ledger
from infaas.registrar.settings import RegistrarSettings
from infaas.schemas import commands
from infaas.schemas import headers as h
from infaas.schemas.commands import AnyCommand, RegisterModel, UnregisterModel
from infaas.schemas.contract import Contract
from infaas.schemas.errors import Fenced, InfaasError, ProducerFatal, RetryableError
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.metadata import Architecture
from infaas.schemas.names import query_id
from infaas.schemas.topics import REPLIES
from infaas.store.lane import Lane
from infaas.store.view import View

log = logging.getLogger(__name__)
REPLY_AGAIN_S = 30.0  # longer than all that a reply tries by itself
ADDRESS_S = 30.0


class _InHand:
    """The command being worked on, and how far it is."""

    def __init__(self, pending: Pending) -> None:
        self.pending = pending
        self.address: ReplyAddress | None = None
        self.command: AnyCommand | None = None
        self.checking: Checking | None = None
        self.contract: Contract | None = None
        self.record: Architecture | None = None
        self.replaced: int | None = None
        self.reply: Reply | None = None
        self.replied_at = float("-inf")
        self.refused: Exception | None = None

    def again(self, error: InfaasError) -> None:
        """The record was not confirmed: it is decided again, on what the view says then, unless it never can be."""
        self.record = None
        if not error.retryable:
            self.refused = error

    def end(self) -> None:
        """Ends what runs for it."""
        if self.checking is not None:
            self.checking.end()
            self.checking = None


class Handler:
    """Handles registration commands while we lead.

    Args:
        settings: of the cell.
        own: of this registrar.
        outbox: for replies.
        ledger: for records.
    """

    def __init__(self, settings: BusSettings, *, own: RegistrarSettings, outbox: Outbox, ledger: Ledger) -> None:
        self._own, self._ledger = own, ledger
        self._repository_url = Repository(own.repository_url or None).url
        self._commands = Commands(settings, client_id=own.name)
        self._dead = DeadLetters(outbox, settings, service="registrar")
        self._sender = ReplySender(outbox, settings, dead_letters=self._dead)
        self._addresses = ReplyAddresses(outbox, settings, allowed=own.reply_topics)
        self._default = ReplyAddress(settings.names.of(REPLIES))
        self._lane = Lane("reply addresses", deadline_s=ADDRESS_S)
        self._epoch = -1
        self._in_hand: _InHand | None = None

    @property
    def busy(self) -> bool:
        """Whether a command is in hand."""
        return self._in_hand is not None

    def step(self, view: View, epoch: int) -> None:
        """Goes on with the command in hand, or takes the next; never waits.

        Args:
            view: the picture.
            epoch: under which we lead.

        Raises:
            RetryableError: this step is given up, the command is not.
            ProducerFatal: the process has to start again.
        """
        self._epoch = epoch
        self._lane.step(epoch)
        self._commands.start()
        if self._in_hand is None:
            pending = self._commands.take()
            if pending is None:
                return
            self._in_hand = _InHand(pending)
        work = self._in_hand
        if work.reply is None:
            try:
                work.reply = self._answer(work, view)
            except (RetryableError, ProducerFatal, Fenced):
                raise  # no fault of the command's: it is met again, by us or by another
            except InfaasError as error:
                log.info("command refused", extra={"code": error.code, "error": str(error)})
                work.end()
                work.reply = Refusal.of(error).reply(work.pending.record, work.address or self._default)
            except Exception as error:  # a command's failure is that command's
                log.exception("command failed")
                work.end()
                work.reply = self._failed(work, error)
        if work.reply is not None:
            self._send(work, work.reply)

    def _failed(self, work: _InHand, error: Exception) -> Reply:
        """What nobody has foreseen: kept with its cause, and said to the caller."""
        self._dead.put(work.pending.record, stage="registration", cause=error)
        message = f"the registrar could not handle it: {type(error).__name__}: {error}"
        refusal = Refusal(outcome="failed", code="internal", message=message)
        return refusal.reply(work.pending.record, work.address or self._default)

    def drop(self) -> None:
        """Begins to leave the group; the command in hand is not committed, and comes again, to us or to another."""
        if self._in_hand is not None:
            self._in_hand.end()
            self._in_hand = None
        self._commands.stop()

    def close(self) -> None:
        """Leaves the group, and waits a while for it."""
        self.drop()
        self._commands.close()
        self._lane.close()

    def _answer(self, work: _InHand, view: View) -> Reply | None:
        """The reply; None while there is something to wait for."""
        if work.address is None and work.refused is None:
            self._look_up(work)
            return None
        if not self._ledger.seen(view):
            return None
        if work.refused is not None:
            raise work.refused
        assert work.address is not None
        if work.record is None:
            record = self._decide(work, view)
            if record is None:
                return None
            work.record = record
            if view.get(record.key) != record:
                self._ledger.write(record, view=view, failed=work.again)
                return None
        return _accepted(work, work.address, work.record)

    def _look_up(self, work: _InHand) -> None:
        """Has the reply address checked beside the loop: whether a topic is there, only a broker knows."""
        if self._lane.busy:
            return
        asked = h.parse_reply_address(work.pending.record.header_map)

        def check() -> ReplyAddress | Exception:
            try:
                return self._addresses.check(asked)
            except RetryableError:
                raise
            except Exception as error:  # noqa: BLE001 - the command's, and not the lane's
                return error

        def checked(result: ReplyAddress | Exception) -> None:
            if isinstance(result, Exception):
                work.refused = result
            else:
                work.address = result

        self._lane.start("reply address", check, checked, epoch=self._epoch)

    def _decide(self, work: _InHand, view: View) -> Architecture | None:
        if work.command is None:
            work.command = commands.decode(work.pending.record.value)
        match work.command:
            case UnregisterModel() as command:
                return retire(view, command)
            case RegisterModel() as command:
                known = already(view, command)
                if known is not None:
                    return known
                check(view, command)
                if work.contract is None:
                    if work.checking is None:
                        work.checking = Checking(command, repository_url=self._repository_url, own=self._own)
                    work.contract = work.checking.result()
                if work.contract is None:
                    return None
                work.replaced = replaced(view, command)
                return accept(view, command, work.contract)

    def _send(self, work: _InHand, reply: Reply) -> None:
        now = time.monotonic()
        if now - work.replied_at < REPLY_AGAIN_S:
            return

        def confirmed() -> None:
            work.pending.done()
            if self._in_hand is work:
                self._in_hand = None

        self._sender.send(reply, confirmed)
        work.replied_at = now


def _accepted(work: _InHand, address: ReplyAddress, record: Architecture) -> Reply:
    came = work.pending.record
    identity = query_id(came.topic, came.partition, came.offset)
    correlation = h.correlation_id(came.header_map)
    headers = h.headers_of([(h.OUTCOME, "ok"), (h.QUERY_ID, identity), *([correlation] if correlation else [])])
    body: dict[str, object] = {
        "architecture": record.architecture, "version": record.version, "state": record.state
    }  # fmt: skip
    if work.replaced is not None:
        body["replaced"] = work.replaced
    return Reply(identity, address, orjson.dumps(body), headers, key=came.key)
