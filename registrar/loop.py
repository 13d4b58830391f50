"""The registrar: one leader by claim.

Each step:
 1. Follow metadata and telemetry; claim, tick, repair or step down. Commands are consumed while leading, never else.
 2. One command at a time: read it, check the model in a child process, write `accepted` (or `retired`), reply, commit.
 3. Drive everything else from what metadata says: plan, fold what builds found, make topics, mark what is dominated, retire.
A registrar that is killed goes on where it was: a command that was not answered comes again, and all else is in the view.
"""

from __future__ import annotations

import logging
import time

import orjson

from infaas.bus.admin import Admin
from infaas.bus.claims import Leadership
from infaas.bus.control import Commands, Pending
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.record import Record
from infaas.bus.refusals import refusal_of
from infaas.bus.replies import Reply, ReplyAddresses, ReplySender
from infaas.bus.repository import Repository
from infaas.bus.settings import BusSettings
from infaas.bus.table import Table
from infaas.bus.telemetry import TelemetryReader
from infaas.bus.view import View
from infaas.registrar.checking import Checking
from infaas.registrar.commands import accept, already, retire
from infaas.registrar.fold import fold
from infaas.registrar.plan import check_plan
from infaas.registrar.settings import RegistrarSettings
from infaas.schemas import commands, decisions
from infaas.schemas import headers as h
from infaas.schemas.commands import RegisterModel, UnregisterModel
from infaas.schemas.contract import Contract
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.errors import BadReplyAddress, InfaasError
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.metadata import Architecture, Variant
from infaas.schemas.names import query_id
from infaas.schemas.topics import DECISIONS, REPLIES

log = logging.getLogger(__name__)
IDLE_S = 0.02
LOOK_EVERY_S = 1.0


class _InHand:
    """The command being worked on."""

    def __init__(self, pending: Pending, address: ReplyAddress) -> None:
        self.pending, self.address = pending, address
        self.command: RegisterModel | None = None
        self.checking: Checking | None = None


class Registrar:
    """One candidate; `step` is one iteration.

    Args:
        settings: of the cell.
        own: of this registrar.
    """

    def __init__(self, *, settings: BusSettings, own: RegistrarSettings) -> None:
        self._names, self._own = settings.names, own
        self._outbox = Outbox(settings, client_id=own.name)
        self._table = Table(settings, client_id=own.name)
        self._telemetry = TelemetryReader(settings, client_id=own.name)
        self._admin = Admin(settings, client_id=own.name)
        self._repository = Repository(own.repository_url or None)
        self._commands = Commands(settings, client_id=own.name)
        self._dead = DeadLetters(self._outbox, settings, service="registrar")
        self._sender = ReplySender(self._outbox, settings, dead_letters=self._dead)
        self._addresses = ReplyAddresses(self._outbox, settings, allowed=own.reply_topics)
        self._default = ReplyAddress(settings.names.of(REPLIES))
        self.leadership = Leadership(settings, role="registrar", table=self._table, outbox=self._outbox)
        self._in_hand: _InHand | None = None
        self._topics: dict[str, int] = {}
        self._next_look = 0.0
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
            self._drop()
            return
        self._commands.start()
        try:
            self._work()
            self._fold()
        except InfaasError as error:
            if not error.retryable:
                raise
            log.warning("a step is given up", extra={"error": str(error)})

    def close(self) -> None:
        """Resigns, so that a standby need not wait; the command in hand comes again."""
        self._drop()
        self.leadership.resign()
        self._outbox.close()
        self._table.close()
        self._telemetry.close()
        self._admin.close()

    def _drop(self) -> None:
        if self._in_hand is not None and self._in_hand.checking is not None:
            self._in_hand.checking.end()
        self._in_hand = None
        self._commands.stop()

    # ---- commands

    def _work(self) -> None:
        if self._in_hand is None:
            pending = self._commands.take()
            if pending is None:
                return
            self._begin(pending)
        one = self._in_hand
        if one is not None and one.checking is not None and one.command is not None:
            try:
                contract = one.checking.result()
                if contract is not None:
                    one.checking = None
                    self._accept(one, one.command, contract)
            except InfaasError as error:
                one.checking = None
                self._refuse(one, error)

    def _begin(self, pending: Pending) -> None:
        record = pending.record
        try:
            address = self._addresses.check(h.parse_reply_address(record.header_map))
        except BadReplyAddress as error:
            self._in_hand = _InHand(pending, self._default)
            self._refuse(self._in_hand, error)
            return
        one = self._in_hand = _InHand(pending, address)
        view = self._table.view()
        try:
            match commands.decode(record.value):
                case RegisterModel() as command:
                    known = already(view, command)
                    if known is not None:
                        self._answer(one, known)
                        return
                    check_plan(command.generators, command.cores)
                    one.command = command
                    one.checking = Checking(command, repository=self._repository, own=self._own)
                case UnregisterModel() as command:
                    self._write(one, retire(view, command))
        except InfaasError as error:
            self._refuse(one, error)

    def _accept(self, one: _InHand, command: RegisterModel, contract: Contract) -> None:
        self._write(one, accept(self._table.view(), command, contract))

    def _write(self, one: _InHand, record: Architecture) -> None:
        """The command is answered when the store has it."""

        def confirmed(delivery: Delivery) -> None:
            if delivery.error is not None:
                self._in_hand = None  # not committed: it comes again when the group rebalances, or with the next leader
                self._commands.stop()
                return
            self._decided(record)
            self._answer(one, record)

        self.leadership.write(record, confirmed)

    def _answer(self, one: _InHand, record: Architecture) -> None:
        body = {"architecture": record.architecture, "version": record.version, "state": record.state}
        self._reply(one, _reply(one, orjson.dumps(body)))

    def _refuse(self, one: _InHand, error: InfaasError) -> None:
        log.info("command refused", extra={"code": error.code, "error": str(error)})
        self._reply(one, refusal_of(one.pending.record, one.address, error))

    def _reply(self, one: _InHand, reply: Reply) -> None:
        def confirmed() -> None:
            one.pending.done()
            self._in_hand = None

        self._sender.send(reply, confirmed)

    # ---- what follows

    def _fold(self) -> None:
        view, now = self._table.view(), time.monotonic()
        if view.offset == self._folded and now < self._next_look:
            return
        self._folded = view.offset
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._topics = self._admin.topics()
        changes = fold(view, topic_gone=self._gone)
        for record in changes.records:
            if isinstance(record, Variant) and record.state == "ready":
                made = self._admin.ensure_variant_topics(record.variant)  # before a router can send to it
                self._topics |= dict.fromkeys(made, 1)
            self.leadership.write(record)
            self._decided(record)
        for key in changes.deleted:
            self.leadership.delete(key)
        if changes.records or changes.deleted:
            self._settle(view)

    def _settle(self, view: View) -> None:
        """Waits until our own records are in the view: the next fold builds on them."""
        self._outbox.flush(2.0)
        deadline = time.monotonic() + 1.0
        while self._table.view().offset == view.offset and time.monotonic() < deadline:
            self._table.poll(IDLE_S)

    def _gone(self, variant: str) -> bool:
        return self._names.work(variant) not in self._topics and self._names.offline(variant) not in self._topics

    def _decided(self, record: Architecture | Variant) -> None:
        about = record.architecture if isinstance(record, Architecture) else record.variant
        log.info("written", extra={"about": about, "state": record.state, "reason": record.reason})
        said = DecisionRecord(
            by="registrar",
            about=about,
            decision=record.state.capitalize(),
            reason=record.reason,
            view_offset=self._table.view().offset,
            at_ms=int(self._outbox.clock.now_ms()),
        )
        self._outbox.send(self._names.of(DECISIONS), key=about, value=decisions.encode(said))


def _reply(one: _InHand, value: bytes) -> Reply:
    record: Record = one.pending.record
    identity = query_id(record.topic, record.partition, record.offset)
    correlation = h.correlation_id(record.header_map)
    headers = h.headers_of([(h.OUTCOME, "ok"), (h.QUERY_ID, identity), *([correlation] if correlation else [])])
    return Reply(identity, one.address, value, headers)
