"""One query on its way through an instance, and the replies it can end in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infaas.bus.record import Record
from infaas.bus.replies import Reply
from infaas.policy.capacity import capacity
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import Outcome, Travel
from infaas.schemas.metadata import Variant
from infaas.schemas.oip import Array, InferRequest, InferResponse

HOUR_S = 3600.0


@dataclass(slots=True)
class Work:
    """A taken record, with what travelled and, once decoded, its request."""

    record: Record
    travel: Travel
    request: InferRequest | None = None
    rows: int = 1

    @classmethod
    def of(cls, record: Record) -> Work:
        """Reads what travelled.

        Raises:
            BadHeader: if the headers are not the router's.
        """
        return cls(record, h.parse_travel(record.header_map))

    def json_length(self) -> int | None:
        """Length of the JSON part, if the body has binary tensors.

        Raises:
            BadHeader: if it is no number.
        """
        return h.content_length(self.record.header_map)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a query's batch went."""

    batch_size: int
    inference_ms: float
    queue_ms: float
    done_ms: float


class Replies:
    """Makes the replies of one instance."""

    def __init__(self, variant: Variant, worker: str) -> None:
        self._variant, self._worker = variant, worker
        self._accuracy = variant.profile.accuracy if variant.profile else 0.0

    def ok(self, work: Work, outputs: dict[str, Array], ran: Ran) -> Reply:
        """The answer, in the query's form."""
        request = work.request
        assert request is not None
        response = InferResponse(self._variant.variant, outputs, id=request.id)
        value, length = oip.encode_response(response, binary=request.binary)
        met = ran.done_ms <= work.travel.deadline_ms and not work.travel.mark
        more = [
            (h.BATCH_SIZE, ran.batch_size),
            (h.INFERENCE_MS, f"{ran.inference_ms:.3f}"),
            (h.QUEUE_MS, f"{ran.queue_ms:.3f}"),
            (h.COST, f"{self._cost(work.travel):.10f}"),
            (h.OBJECTIVE_MET, met),
            (h.REASON, work.travel.mark or None),
            (h.CONTENT_LENGTH, length),
        ]
        return self._reply(work, "ok", value, more)

    def expired(self, work: Work, now_ms: float) -> Reply:
        """Nobody waits for it any more."""
        late = now_ms - work.travel.drop_after_ms
        value = oip.encode_error(
            "expired", f"the deadline passed {late:.1f} ms ago, in the queue of {self._variant.variant}"
        )
        return self._reply(work, "expired", value, [(h.REASON, "expired")])

    def failed(self, work: Work, error: InfaasError | str, code: str | None = None) -> Reply:
        """This query can't be answered."""
        reason = code or (error.code if isinstance(error, InfaasError) else "failed")
        value = oip.encode_error(reason, str(error), field=getattr(error, "field", None))
        return self._reply(work, "failed", value, [(h.REASON, reason)])

    def _reply(self, work: Work, outcome: Outcome, value: bytes, more: list[tuple[str, object]]) -> Reply:
        found = work.record.header_map
        correlation = h.correlation_id(found)
        out = h.headers_of(
            [
                (h.OUTCOME, outcome),
                (h.QUERY_ID, work.travel.query_id),
                (h.SERVED_ARCHITECTURE, self._variant.architecture),
                (h.SERVED_VARIANT, self._variant.variant),
                (h.WORKER, self._worker),
                (h.ACCURACY, f"{self._accuracy:.6f}"),
                *more,
                *h.echoed(found),
                *([correlation] if correlation else []),
            ]
        )
        travel = work.travel
        return Reply(
            travel.query_id, travel.reply, value, out, deadline_ms=travel.deadline_ms, until_ms=travel.drop_after_ms
        )

    def _cost(self, travel: Travel) -> float:
        """USD: C_v / Q_v(L), at the catalogue price."""
        profile, price = self._variant.profile, self._variant.cost_per_hour
        if profile is None or price is None:
            return 0.0
        span = travel.deadline_ms - travel.appended_ms
        rate = capacity(profile, None if math.isinf(span) else span) or capacity(profile, None)
        return price / HOUR_S / rate
