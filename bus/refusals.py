"""Replies that say no: they tell a person what was wrong, and what would have been possible."""

from __future__ import annotations

from infaas.bus.record import Record
from infaas.bus.replies import Reply
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import Outcome, ReplyAddress
from infaas.schemas.names import query_id


def refusal(
    record: Record,
    address: ReplyAddress,
    *,
    outcome: Outcome,
    code: str,
    message: str,
    identity: str | None = None,
    suggestion: str | None = None,
    field: str | None = None,
) -> Reply:
    """A reply with an error body; `identity` is the query id if it is not where the record stands."""
    found = record.header_map
    correlation = h.correlation_id(found)
    identity = identity or query_id(record.topic, record.partition, record.offset)
    headers = h.headers_of(
        [
            (h.OUTCOME, outcome),
            (h.QUERY_ID, identity),
            (h.REASON, code),
            (h.SUGGESTION, suggestion),
            (h.OBJECTIVE_MET, False),
            (h.CLOUD_EVENT_ID, found.get(h.CLOUD_EVENT_ID)),
            (h.TRACEPARENT, found.get(h.TRACEPARENT)),
            *([correlation] if correlation else []),
        ]
    )
    value = oip.encode_error(code, message, suggestion=suggestion, field=field)
    return Reply(identity, address, value, headers)


def refusal_of(record: Record, address: ReplyAddress, error: InfaasError) -> Reply:
    """The reply to input that can't be used."""
    return refusal(
        record, address, outcome="rejected", code=error.code, message=str(error), field=getattr(error, "field", None)
    )
