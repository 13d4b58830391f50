"""Replies that say no: they tell a person what was wrong, and what would have been possible."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infaas.bus.record import Record
from infaas.bus.replies import Reply
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import HeaderList, Outcome, ReplyAddress
from infaas.schemas.names import query_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a caller is told in place of an answer."""

    outcome: Outcome
    """`rejected`, `expired` or `failed`."""
    code: str
    """The reason."""
    message: str
    """For a person."""
    suggestion: str | None = None
    """The nearest variant and the limit that binds."""
    field: str | None = None
    """What was wrong in the input."""
    retry_after_ms: float | None = None
    """When something that starts should be ready."""

    @classmethod
    def of(cls, error: Exception, outcome: Outcome = "rejected") -> Refusal:
        """Of input that can't be used."""
        code = error.code if isinstance(error, InfaasError) else "failed"
        return cls(outcome=outcome, code=code, message=str(error), field=getattr(error, "field", None))

    def reply(
        self,
        record: Record,
        address: ReplyAddress,
        *,
        identity: str | None = None,
        correlation: tuple[str, bytes | str] | None = None,
        until_ms: float = math.inf,
    ) -> Reply:
        """The reply to a record.

        Args:
            record: what is refused; its headers need not be legible.
            address: where the reply goes.
            identity: the query id, if it is not where the record stands.
            correlation: header and value to echo, if they are not in the record's headers.
            until_ms: when nobody wants it any more, epoch ms.
        """
        identity = identity or query_id(record.topic, record.partition, record.offset)
        value = oip.encode_error(self.code, self.message, suggestion=self.suggestion, field=self.field)
        headers = self._headers(h.as_map(record.legible_headers), identity, correlation)
        return Reply(identity, address, value, headers, key=record.key, until_ms=until_ms)

    def _headers(self, asked: h.HeaderMap, identity: str, correlation: tuple[str, bytes | str] | None) -> HeaderList:
        correlation = h.correlation_id(asked) or correlation
        return h.headers_of(
            [
                (h.OUTCOME, self.outcome),
                (h.QUERY_ID, identity),
                (h.REASON, self.code),
                (h.SUGGESTION, self.suggestion),
                (h.RETRY_AFTER_MS, None if self.retry_after_ms is None else round(self.retry_after_ms)),
                (h.OBJECTIVE_MET, False),
                *h.echoed(asked),
                *([correlation] if correlation else []),
            ]
        )
