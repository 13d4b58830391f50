"""A decision with its inputs, for people."""

from __future__ import annotations

import math
from typing import Any

from infaas.policy.price import query_cost
from infaas.router.incoming import Incoming
from infaas.router.policy import Dispatch, Reject, Scene, least_work
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.servable import Servable


def explain(
    incoming: Incoming,
    decision: Dispatch | Reject,
    scene: Scene,
    eligible: tuple[Servable, ...],
    *,
    view_offset: int,
    now_ms: float,
) -> DecisionRecord:
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
    found = decision.variant if isinstance(decision, Dispatch) else decision.code
    return DecisionRecord(
        by="router",
        about=travel.query_id,
        decision=type(decision).__name__,
        reason=decision.reason if isinstance(decision, Dispatch) else decision.message,
        inputs={
            "asked": asked,
            "found": found,
            "candidates": [_candidate(one, scene, objective.latency_ms) for one in eligible],
        },
        view_offset=view_offset,
        at_ms=int(now_ms),
    )


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
