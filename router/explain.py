"""A decision with its inputs, for people."""

from __future__ import annotations

import math
from typing import Any, assert_never

from infaas.policy.price import query_cost
from infaas.router.incoming import Envelope, Incoming
from infaas.router.judgement import Ended, Judgement
from infaas.router.policy import Dispatch, Reject, Scene, least_work
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.errors import InfaasError
from infaas.schemas.servable import Servable


def explain(incoming: Incoming, judgement: Judgement, *, view_offset: int, now_ms: float) -> DecisionRecord:
    """The record of one decision: what was asked, what there was, what was predicted."""
    objective, travel = incoming.objective, incoming.travel
    asked = {
        objective.scope: objective.name,
        "latency_ms": objective.latency_ms,
        "min_accuracy": objective.min_accuracy,
        "max_cost": None if math.isinf(objective.max_cost) else objective.max_cost,
        "optimize": objective.optimize,
        "strict": objective.strict,
        "left_ms": None if math.isinf(travel.deadline_ms) else round(travel.deadline_ms - now_ms, 3),
        "excluded": list(travel.excluded),
    }
    name, outcome, reason = _outcome(judgement.decision)
    return DecisionRecord(
        by="router",
        about=travel.query_id,
        decision=name,
        reason=reason,
        inputs={
            "asked": asked,
            "found": outcome,
            "candidates": [_candidate(one, judgement.scene, objective.latency_ms) for one in judgement.eligible],
        },
        view_offset=view_offset,
        at_ms=int(now_ms),
    )


def explain_unread(envelope: Envelope, error: InfaasError, *, view_offset: int, now_ms: float) -> DecisionRecord:
    """The record of a query that could not be read: nothing is known of what it asks for."""
    return DecisionRecord(
        by="router",
        about=envelope.identity,
        decision="Fail" if envelope.returned else "Reject",
        reason=str(error),
        inputs={"found": error.code},
        view_offset=view_offset,
        at_ms=int(now_ms),
    )


def _outcome(decision: Dispatch | Reject | Ended) -> tuple[str, str, str]:
    """Its name, what came of it (a variant, or the code of a refusal), and why."""
    match decision:
        case Dispatch():
            return "Dispatch", decision.variant, decision.reason
        case Reject():
            return "Reject", decision.code, decision.message
        case Ended():
            return decision.decision, decision.code, decision.reason
        case _:
            assert_never(decision)


def _candidate(one: Servable, scene: Scene, latency_ms: float | None) -> dict[str, Any]:
    best = least_work(scene.running.get(one.variant, ()), "")
    state = scene.not_yet.get(one.variant)
    out: dict[str, Any] = {
        "variant": one.variant,
        "accuracy": one.accuracy,
        "cost_per_1000": query_cost(one, latency_ms),
        "p99_ms": one.profile.p99_ms(1),
    }
    if best is not None:
        predicted = round(best.done_in_ms(one.profile.p99_ms(1)), 3)
        out |= {"state": best.condition, "worker": best.worker, "backlog": best.backlog, "predicted_ms": predicted}
    elif state is not None:
        out |= {
            "state": "starting" if state.starting else "cold",
            "ready_in_ms": round(state.ready_in_ms, 1),
            "waiting": state.waiting,
        }
    return out
