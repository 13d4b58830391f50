"""An answer, as the caller sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import orjson

from infaas.bus.record import Record
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import Expired, InfaasError, InferenceFailed, Rejected
from infaas.schemas.oip import Array, InferResponse


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, who made it, and what it took."""

    outcome: str
    """`ok`, `rejected`, `expired` or `failed`."""
    query_id: str
    outputs: Mapping[str, Array] = field(default_factory=dict)
    """Arrays by output name; empty unless `ok`."""
    id: str | None = None
    """The caller's own."""
    architecture: str = ""
    variant: str = ""
    worker: str = ""
    accuracy: float = 0.0
    """Of the variant, on its validation set."""
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    """Of the batch."""
    batch_size: int = 0
    cost: float = 0.0
    """USD of this query at the catalogue price."""
    objective_met: bool = False
    """Whether it was in its topic by the deadline: as its sender expected it, and as the log shows it."""
    reason: str = ""
    """A code: why not, or by which limit a query that is not strict misses its objective."""
    message: str = ""
    suggestion: str = ""
    """The nearest variant and the limit that binds."""
    latency_ms: float = 0.0
    """From `submit` to here, by the caller's clock."""
    headers: Mapping[str, bytes | str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record, latency_ms: float, value: bytes | None = None) -> Reply:
        """Reads a record of the reply topic.

        Args:
            record: as it came.
            latency_ms: by the caller's clock.
            value: what its claim check stands for; None = there is none.

        Raises:
            BadInput: if it is none of ours.
        """
        headers = record.header_map
        text = partial(_text, headers)
        outcome, response = text(h.OUTCOME), InferResponse("", {})
        if outcome == "ok":
            response = oip.decode_response(record.value if value is None else value, h.content_length(headers))
        return cls(
            outcome=outcome,
            query_id=text(h.QUERY_ID),
            outputs=response.outputs,
            id=response.id,
            architecture=text(h.SERVED_ARCHITECTURE),
            variant=text(h.SERVED_VARIANT),
            worker=text(h.WORKER),
            accuracy=float(text(h.ACCURACY) or 0),
            queue_ms=float(text(h.QUEUE_MS) or 0),
            inference_ms=float(text(h.INFERENCE_MS) or 0),
            batch_size=int(text(h.BATCH_SIZE) or 0),
            cost=float(text(h.COST) or 0),
            objective_met=text(h.OBJECTIVE_MET) == "true" and not _is_late(record, text(h.DUE)),
            reason=text(h.REASON),
            message="" if outcome == "ok" else _error(record.value),
            suggestion=text(h.SUGGESTION),
            latency_ms=latency_ms,
            headers=dict(headers),
        )

    def error(self) -> InfaasError | None:
        """What to raise; None if it is `ok`."""
        match self.outcome:
            case "ok":
                return None
            case "rejected":
                return Rejected(self.reason, self.message, self.suggestion or None)
            case "expired":
                return Expired(self.message)
            case _:
                return InferenceFailed(f"{self.reason}: {self.message}")


def _is_late(record: Record, due: str) -> bool:
    """Whether it came into the log after it was due: its sender could only expect when it would."""
    try:
        return record.appended_ms is not None and record.appended_ms > float(due)
    except ValueError:
        return False


def _text(headers: h.HeaderMap, name: str) -> str:
    return h.text(headers.get(name), name)


def _error(value: bytes) -> str:
    try:
        body = orjson.loads(value)
        return str(body.get("error", body)) if isinstance(body, dict) else ""
    except orjson.JSONDecodeError:
        return ""
