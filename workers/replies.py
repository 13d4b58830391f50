"""The replies a query can end in at an instance, as they go over the wire."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infaas.bus.claim_check import ClaimCheck
from infaas.bus.replies import Reply
from infaas.policy.capacity import capacity
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import HeaderList, Outcome, Travel
from infaas.schemas.metadata import Variant
from infaas.schemas.oip import Array, InferRequest, InferResponse
from infaas.schemas.profile import Profile
from infaas.workers.work import Work

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a query's batch went."""

    batch_size: int
    inference_ms: float
    queue_ms: float
    done_ms: float
    """When the reply may be expected to stand in its topic, epoch ms on the broker's clock."""


class Replies:
    """Makes the replies of one instance.

    Args:
        variant: what answers.
        profile: its own.
        worker: the supervisor's name.
        claims: where a value goes that is too large for a record.
    """

    def __init__(self, variant: Variant, profile: Profile, worker: str, claims: ClaimCheck) -> None:
        self._variant, self._profile, self._worker, self._claims = variant, profile, worker, claims

    def ok(self, work: Work, request: InferRequest, outputs: dict[str, Array], ran: Ran) -> Reply:
        """The answer, in the query's form.

        Raises:
            BadTensor: an output that this form can't hold.
            ArtifactError: it is too large for a record, and can't be stored.
        """
        response = InferResponse(self._variant.variant, outputs, id=request.id)
        value, length = oip.encode_response(response, binary=request.binary)
        value, claim = self._claims.put(value, beside=work.record.key)
        met = ran.done_ms <= work.travel.deadline_ms and not work.travel.mark
        more: list[tuple[str, object]] = [
            (h.BATCH_SIZE, ran.batch_size),
            (h.INFERENCE_MS, f"{ran.inference_ms:.3f}"),
            (h.QUEUE_MS, f"{ran.queue_ms:.3f}"),
            (h.COST, f"{self._cost(work.travel):.10f}"),
            (h.OBJECTIVE_MET, met),
            (h.DUE, None if math.isinf(work.travel.deadline_ms) else f"{work.travel.deadline_ms:.0f}"),
            (h.REASON, work.travel.mark or None),
            (h.CONTENT_LENGTH, length),
            *claim,
        ]
        return self._reply(work, "ok", value, more)

    def expired(self, work: Work, now_ms: float) -> Reply:
        """Nobody waits for it any more."""
        late = now_ms - work.travel.drop_after_ms
        message = f"the deadline passed {late:.1f} ms ago, in the queue of {self._variant.variant}"
        return self._reply(work, "expired", oip.encode_error("expired", message), [(h.REASON, "expired")])

    def failed(self, work: Work, error: Exception | str, code: str | None = None) -> Reply:
        """This query can't be answered."""
        reason = code or (error.code if isinstance(error, InfaasError) else "failed")
        message = str(error) if isinstance(error, InfaasError | str) else f"{type(error).__name__}: {error}"
        identity = work.request.id if work.request else None
        value = oip.encode_error(reason, message, field=getattr(error, "field", None), id=identity)
        return self._reply(work, "failed", value, [(h.REASON, reason)])

    def _reply(self, work: Work, outcome: Outcome, value: bytes, more: list[tuple[str, object]]) -> Reply:
        asked = work.headers
        correlation = h.correlation_id(asked)
        out: HeaderList = h.headers_of(
            [
                (h.OUTCOME, outcome),
                (h.QUERY_ID, work.travel.query_id),
                (h.SERVED_ARCHITECTURE, self._variant.architecture),
                (h.SERVED_VARIANT, self._variant.variant),
                (h.WORKER, self._worker),
                (h.ACCURACY, f"{self._profile.accuracy:.6f}"),
                *more,
                *h.echoed(asked),
                *([correlation] if correlation else []),
            ]
        )
        travel = work.travel
        return Reply(
            travel.query_id,
            travel.reply,
            value,
            out,
            key=work.record.key,
            deadline_ms=travel.deadline_ms,
            until_ms=travel.drop_after_ms,
        )

    def _cost(self, travel: Travel) -> float:
        """USD: C_v / Q_v(L), at the catalogue price."""
        price = self._variant.cost_per_hour
        if price is None:
            return 0.0
        span = travel.deadline_ms - travel.appended_ms
        rate = capacity(self._profile, None if math.isinf(span) else span) or capacity(self._profile, None)
        return price / HOUR_S / rate
