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
from infaas.schemas.headers import CallerHeaders, HeaderMap, Objective, ReplyAddress, Travel
from infaas.schemas.names import query_id


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

    @property
    def record(self) -> Record:
        """As it was consumed."""
        return self.envelope.record


def read_query(envelope: Envelope, addresses: Addresses, now_ms: float) -> Incoming:
    """Reads a record; the envelope learns on the way what an answer needs.

    Raises:
        BadInput: naming the header or the parameter.
        KafkaUnavailable: nobody says whether the reply address exists.
    """
    return _returned(envelope, addresses) if envelope.returned else _asked(envelope, addresses, now_ms)


def _asked(envelope: Envelope, addresses: Addresses, now_ms: float) -> Incoming:
    record = envelope.record
    headers = CallerHeaders.of(record.headers)
    envelope.address = addresses.check(h.parse_reply_address(headers.found))
    if headers.trouble is not None:
        raise headers.trouble
    asked = headers.found
    if not h.has_scope(asked):
        asked = _parameters(record, asked)
        envelope.correlation = h.correlation_id(asked)
        envelope.address = addresses.check(h.parse_reply_address({**asked, **headers.found}))
    objective = h.parse_objective(asked)
    begin_ms = objective.begin(record.timestamp_ms, now_ms)
    travel = Travel(
        query_id=envelope.identity,
        appended_ms=begin_ms,
        deadline_ms=objective.deadline(begin_ms),
        drop_after_ms=objective.drop_after(begin_ms),
        reply=envelope.address,
    )
    envelope.until_ms = travel.drop_after_ms
    return Incoming(envelope, objective, travel)


def _returned(envelope: Envelope, addresses: Addresses) -> Incoming:
    found = h.as_map(envelope.record.headers)
    travel = h.parse_travel(found)
    envelope.identity, envelope.until_ms = travel.query_id, travel.drop_after_ms
    envelope.address = addresses.check(travel.reply)
    if not travel.attempt:
        raise BadHeader(h.ATTEMPT, "how often it was returned", "nothing")
    asked = found if h.has_scope(found) else _parameters(envelope.record, found)
    return Incoming(envelope, h.parse_objective(asked), travel)


def _parameters(record: Record, found: HeaderMap) -> HeaderMap:
    parameters = oip.body_parameters(record.value, h.content_length(found))
    return h.headers_from_parameters(parameters)
