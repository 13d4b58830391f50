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
COSTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Ran:
    """How a batch went: what the replies to all its queries have alike."""

    began_ms: float
    """Epoch ms on the broker's clock, as `done_ms`."""
    done_ms: float
    """When the replies may be expected to stand in their topic."""
    told: HeaderList

    @classmethod
    def of(cls, *, batch_size: int, inference_ms: float, began_ms: float, done_ms: float) -> Ran:
        """A batch of so many rows that took so long."""
        told: HeaderList = [(h.BATCH_SIZE, b"%d" % batch_size), (h.INFERENCE_MS, b"%.3f" % inference_ms)]
        return cls(began_ms, done_ms, told)

    def queue_ms(self, work: Work) -> float:
        """How long a query waited for it."""
        return max(0.0, self.began_ms - work.record.timestamp_ms)


class Replies:
    """Makes the replies of one instance.

    Args:
        variant: what answers.
        profile: its own.
        worker: the supervisor's name.
        claims: where a value goes that is too large for a record.
    """

    def __init__(self, variant: Variant, profile: Profile, worker: str, claims: ClaimCheck) -> None:
        self._variant, self._profile, self._claims = variant, profile, claims
        self._ours: HeaderList = h.headers_of(
            [
                (h.SERVED_ARCHITECTURE, variant.architecture),
                (h.SERVED_VARIANT, variant.variant),
                (h.WORKER, worker),
                (h.ACCURACY, f"{profile.accuracy:.6f}"),
            ]
        )
        self._costs: dict[float, bytes] = {}

    def ok(self, work: Work, request: InferRequest, outputs: dict[str, Array], ran: Ran, queue_ms: float) -> Reply:
        """The answer, in the query's form.

        Raises:
            BadTensor: an output that this form can't hold.
            ArtifactError: it is too large for a record, and can't be stored.
        """
        response = InferResponse(self._variant.variant, outputs, id=request.id)
        value, length = oip.encode_response(response, binary=request.binary)
        value, claim = self._claims.put(value, beside=work.record.key)
        travel = work.travel
        met = ran.done_ms <= travel.deadline_ms and not travel.mark
        more: HeaderList = [
            *ran.told,
            (h.QUEUE_MS, b"%.3f" % queue_ms),
            (h.COST, self._cost(travel)),
            (h.OBJECTIVE_MET, b"true" if met else b"false"),
        ]
        if travel.deadline_ms != math.inf:
            more.append((h.DUE, b"%.0f" % travel.deadline_ms))
        if travel.mark:
            more.append((h.REASON, travel.mark.encode()))
        if length is not None:
            more.append((h.CONTENT_LENGTH, b"%d" % length))
        return self._reply(work, "ok", value, more + claim if claim else more, travel.deadline_ms if met else math.inf)

    def expired(self, work: Work, now_ms: float) -> Reply:
        """Nobody waits for it any more."""
        late = now_ms - work.travel.drop_after_ms
        when = f"passed {late:.1f} ms ago" if late > 0 else f"is in {-late:.1f} ms, sooner than any answer"
        message = f"the deadline {when}, in the queue of {self._variant.variant}"
        return self._reply(work, "expired", oip.encode_error("expired", message), [(h.REASON, b"expired")])

    def failed(self, work: Work, error: Exception | str, code: str | None = None) -> Reply:
        """This query can't be answered."""
        reason = code or (error.code if isinstance(error, InfaasError) else "failed")
        message = str(error) if isinstance(error, InfaasError | str) else f"{type(error).__name__}: {error}"
        identity = work.request.id if work.request else None
        value = oip.encode_error(reason, message, field=getattr(error, "field", None), id=identity)
        return self._reply(work, "failed", value, [(h.REASON, reason.encode())])

    def _reply(
        self, work: Work, outcome: Outcome, value: bytes, more: HeaderList, true_until_ms: float = math.inf
    ) -> Reply:
        asked, travel = work.headers, work.travel
        out: HeaderList = [(h.OUTCOME, outcome.encode()), (h.QUERY_ID, travel.query_id.encode()), *self._ours, *more]
        if echoed := h.echoed(asked):
            out += h.headers_of(echoed)
        if correlation := h.correlation_id(asked):
            name, said = correlation
            out.append((name, said.encode() if isinstance(said, str) else said))
        return Reply(
            travel.query_id,
            travel.reply,
            value,
            out,
            work.record.key,
            true_until_ms,
            travel.drop_after_ms,
        )

    def _cost(self, travel: Travel) -> bytes:
        """USD: C_v / Q_v(L), at the catalogue price."""
        span = travel.deadline_ms - travel.appended_ms
        cost = self._costs.get(span)
        if cost is None:
            if len(self._costs) >= COSTS_KEPT:  # callers choose these numbers: bounded
                self._costs.clear()
            rate = capacity(self._profile, None if math.isinf(span) else span) or capacity(self._profile, None)
            price = self._variant.cost_per_hour or 0.0
            cost = self._costs[span] = f"{price / HOUR_S / rate:.10f}".encode()
        return cost
