"""One query as it came in: identity, objective, deadline, where the reply goes.

What travels (query id, deadlines, attempt, exclusions, checked reply address) is believed on `returns` alone, where the scaler
writes it; on `queries` everything under those names is somebody's, and dropped unread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from infaas.bus.record import Record
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import BadHeader
from infaas.schemas.headers import CallerHeaders, HeaderList, HeaderMap, Objective, ReplyAddress, Travel
from infaas.schemas.names import query_id

KNOWN = 4096
USUAL_BYTES = 2048
MOST_OWN = 8
CHECKED_MS = 1000.0
"""How long a reply address that was good is taken to be: if its topic goes meanwhile, the reply goes to the default one."""
_OWN = frozenset({*h.CORRELATION, h.CLOUD_EVENT_ID, h.TRACEPARENT})
"""What each query has of its own."""


class Addresses(Protocol):
    """Says whether a reply may go where a caller wants it."""

    def check(self, address: ReplyAddress) -> ReplyAddress:
        """Returns the address with its topic filled in, or raises BadReplyAddress."""


@dataclass(slots=True)
class Envelope:
    """What is known of a record so far: whoever answers for it knows where to, even if the rest can't be read."""

    record: Record
    address: ReplyAddress
    """The default one until another was read and checked."""
    returned: bool = False
    """Whether it came from `returns`."""
    identity: str = ""
    correlation: tuple[str, bytes | str] | None = None
    """Said in the body, by a producer that can't set headers."""
    until_ms: float = math.inf
    """When nobody wants an answer any more, epoch ms; infinite for an offline query, and until that is read."""

    def __post_init__(self) -> None:
        record = self.record
        self.identity = query_id(record.topic, record.partition, record.offset)


@dataclass(slots=True)
class Incoming:
    """A query that can be selected for."""

    envelope: Envelope
    objective: Objective
    travel: Travel
    attempts: int = 0
    """Deliveries that failed here."""
    onward: HeaderList | None = None
    """The caller's headers as they go on, if that is known already."""

    @property
    def record(self) -> Record:
        """As it was consumed."""
        return self.envelope.record


@dataclass(slots=True)
class _Asked:
    """What a set of headers says, but for those that each query has of its own."""

    objective: Objective
    said: ReplyAddress
    """Where the reply is to go, as it was said."""
    onward: HeaderList
    address: ReplyAddress
    """The same, checked."""
    checked_ms: float


class Reader:
    """Reads queries; what like headers say is worked out once.

    Callers send the same headers again and again, but for what tells their queries apart: the correlation id, a CloudEvents id,
    a trace. What the rest says is remembered by its raw bytes, for as many sets of headers as are of a usual size.

    Args:
        addresses: says whether a reply may go where a caller wants it.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._known: dict[tuple[tuple[str, bytes], ...], _Asked] = {}

    def read(self, envelope: Envelope, now_ms: float) -> Incoming:
        """Reads a record; the envelope learns on the way what an answer needs.

        Raises:
            BadInput: naming the header or the parameter.
            KafkaUnavailable: nobody says whether the reply address exists.
        """
        if envelope.returned:
            return self._returned(envelope)
        common: list[tuple[str, bytes]] = []
        own: HeaderList = []
        for header in envelope.record.headers:
            (own if header[0] in _OWN else common).append(header)
        key = tuple(common)
        asked = self._known.get(key)
        if asked is not None and len(own) <= MOST_OWN and all(v and len(v) <= h.TEXT_LIMIT_BYTES for _, v in own):
            if not 0 <= now_ms - asked.checked_ms < CHECKED_MS:
                asked.address, asked.checked_ms = self._addresses.check(asked.said), now_ms
            envelope.address = asked.address
            return _incoming(envelope, asked.objective, now_ms, [*asked.onward, *own])
        return self._asked(envelope, now_ms, key)

    def _asked(self, envelope: Envelope, now_ms: float, key: tuple[tuple[str, bytes], ...]) -> Incoming:
        record = envelope.record
        headers = CallerHeaders.of(record.headers)
        address = h.parse_reply_address(headers.found)
        envelope.address = self._addresses.check(address)
        if headers.trouble is not None:
            raise headers.trouble
        asked = headers.found
        if h.has_scope(asked):
            objective = h.parse_objective(asked)
            self._remember(key, _Asked(objective, address, h.onward_headers(key), envelope.address, now_ms))
            return _incoming(envelope, objective, now_ms)
        asked = _parameters(record, asked)
        envelope.correlation = h.correlation_id(asked)
        envelope.address = self._addresses.check(h.parse_reply_address({**asked, **headers.found}))
        return _incoming(envelope, h.parse_objective(asked), now_ms)

    def _remember(self, key: tuple[tuple[str, bytes], ...], asked: _Asked) -> None:
        if sum(len(name) + len(value or b"") for name, value in key) > USUAL_BYTES:
            return
        if len(self._known) >= KNOWN:  # callers choose them: bounded
            self._known.clear()
        self._known[key] = asked

    def _returned(self, envelope: Envelope) -> Incoming:
        found = h.as_map(envelope.record.headers)
        travel = h.parse_travel(found)
        envelope.identity, envelope.until_ms = travel.query_id, travel.drop_after_ms
        envelope.address = self._addresses.check(travel.reply)
        if not travel.attempt:
            raise BadHeader(h.ATTEMPT, "how often it was returned", "nothing")
        asked = found if h.has_scope(found) else _parameters(envelope.record, found)
        return Incoming(envelope, h.parse_objective(asked), travel)


def _incoming(envelope: Envelope, objective: Objective, now_ms: float, onward: HeaderList | None = None) -> Incoming:
    begin_ms = objective.begin(envelope.record.timestamp_ms, now_ms)
    travel = Travel(
        query_id=envelope.identity,
        appended_ms=begin_ms,
        deadline_ms=objective.deadline(begin_ms),
        drop_after_ms=objective.drop_after(begin_ms),
        reply=envelope.address,
    )
    envelope.until_ms = travel.drop_after_ms
    return Incoming(envelope, objective, travel, onward=onward)


def _parameters(record: Record, found: HeaderMap) -> HeaderMap:
    parameters = oip.body_parameters(record.value, h.content_length(found))
    return h.headers_from_parameters(parameters)
