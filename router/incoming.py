"""One query as it came in: identity, objective, deadline, where the reply goes."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.bus.record import Record
from infaas.bus.replies import ReplyAddresses
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import BadHeader
from infaas.schemas.headers import Objective, ReplyAddress, Travel
from infaas.schemas.names import query_id


@dataclass(slots=True)
class Incoming:
    """A query that can be selected for."""

    record: Record
    objective: Objective
    travel: Travel
    attempts: int = 0
    """Deliveries that failed here."""

    @classmethod
    def of(cls, record: Record, address: ReplyAddress) -> Incoming:
        """Reads headers, or the body's parameters if no header says what is asked for.

        Raises:
            BadInput: naming the header or the parameter.
        """
        found = record.header_map
        objective = h.parse_objective(found) if h.has_scope(found) else _from_body(record)
        before = h.parse_travel(found) if h.ATTEMPT in found else None  # returned: it keeps id and deadline
        appended = before.appended_ms if before else record.timestamp_ms
        travel = Travel(
            query_id=before.query_id if before else query_id(record.topic, record.partition, record.offset),
            appended_ms=appended,
            deadline_ms=before.deadline_ms if before else objective.deadline(appended),
            drop_after_ms=before.drop_after_ms if before else objective.drop_after(appended),
            attempt=before.attempt if before else 0,
            excluded=before.excluded if before else (),
            reply=address,
        )
        return cls(record, objective, travel)


def address_of(record: Record, addresses: ReplyAddresses) -> ReplyAddress:
    """The checked address; of a returned query the one that travelled.

    Raises:
        BadReplyAddress: naming the header.
    """
    found = record.header_map
    if h.ATTEMPT in found:
        return addresses.check(h.parse_travel(found).reply)
    return addresses.check(h.parse_reply_address(found))


def _from_body(record: Record) -> Objective:
    raw = record.header_map.get(h.CONTENT_LENGTH)
    length = h.text(raw, h.CONTENT_LENGTH) if raw is not None else None
    if length is not None and not length.isdigit():
        raise BadHeader(h.CONTENT_LENGTH, "a length in bytes", length)
    parameters = oip.body_parameters(record.value, None if length is None else int(length))
    return h.objective_from_parameters(parameters)
