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
    retry_after_ms: float | None = None,
    correlation: tuple[str, bytes | str] | None = None,
) -> Reply:
    """A reply with an error body.

    Args:
        record: what is refused; its headers need not be legible.
        address: where the reply goes.
        outcome: `rejected`, `expired` or `failed`.
        code: the reason.
        message: for a person.
        identity: the query id, if it is not where the record stands.
        suggestion: the nearest variant and the limit that binds.
        field: what was wrong in the input.
        retry_after_ms: when something that starts should be ready.
        correlation: header and value to echo, if they are not in the record's headers.
    """
    found = h.as_map(record.legible_headers)
    correlation = h.correlation_id(found) or correlation
    identity = identity or query_id(record.topic, record.partition, record.offset)
    headers = h.headers_of(
        [
            (h.OUTCOME, outcome),
            (h.QUERY_ID, identity),
            (h.REASON, code),
            (h.SUGGESTION, suggestion),
            (h.RETRY_AFTER_MS, None if retry_after_ms is None else round(retry_after_ms)),
            (h.OBJECTIVE_MET, False),
            *h.echoed(found),
            *([correlation] if correlation else []),
        ]
    )
    value = oip.encode_error(code, message, suggestion=suggestion, field=field)
    return Reply(identity, address, value, headers, key=record.key)


def refusal_of(record: Record, address: ReplyAddress, error: InfaasError) -> Reply:
    """The reply to input that can't be used."""
    return refusal(
        record, address, outcome="rejected", code=error.code, message=str(error), field=getattr(error, "field", None)
    )
