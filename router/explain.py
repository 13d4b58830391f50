"""A decision with its inputs, for people."""

from __future__ import annotations

import math
from typing import Any, assert_never

from infaas.router.incoming import Envelope, Incoming
from infaas.router.judgement import Ended, Judgement
from infaas.router.policy import Dispatch, Ranked, Reject
from infaas.router.ration import MOST_A_SECOND, Unrecorded
from infaas.schemas.decisions import UNRECORDED, DecisionRecord
from infaas.schemas.errors import InfaasError


def explain(
    incoming: Incoming, judgement: Judgement, *, view_offset: int, now_ms: float, most: int | None = None
) -> DecisionRecord:
    """The record of one decision: what was asked, what there was, what was predicted.

    Args:
        incoming: the query.
        judgement: the decision, and what it was made from.
        view_offset: of the view that it stands on.
        now_ms: epoch ms.
        most: candidates that are listed, the best by the query's wish, beside the one that was chosen; None = all.
    """
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
        inputs={"asked": asked, "found": outcome, **_candidates(judgement, most, outcome)},
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


def explain_unrecorded(unrecorded: Unrecorded, *, view_offset: int, now_ms: float) -> DecisionRecord:
    """The one record of many refusals, so that their askers learn why there is none of theirs."""
    codes = ", ".join(f"{number} {code}" for code, number in sorted(unrecorded.by_code.items()))
    return DecisionRecord(
        by="router",
        about=UNRECORDED,
        decision=UNRECORDED,
        reason=f"{sum(unrecorded.by_code.values())} refusals left no record, as a router keeps {MOST_A_SECOND} a second: {codes}",
        inputs={
            "by_code": dict(unrecorded.by_code),
            "begun_ms": unrecorded.begun_ms,
            "ended_ms": unrecorded.ended_ms,
        },
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


def _candidates(judgement: Judgement, most: int | None, chosen: str) -> dict[str, Any]:
    eligible = judgement.plan.eligible
    listed = [one for at, one in enumerate(eligible) if most is None or at < most or one.variant == chosen]
    out: dict[str, Any] = {"candidates": [_candidate(one, judgement) for one in listed]}
    return out if len(listed) == len(eligible) else out | {"unlisted": len(eligible) - len(listed)}


def _candidate(one: Ranked, judgement: Judgement) -> dict[str, Any]:
    scene, query = judgement.scene, judgement.query
    lineup = scene.running.get(one.variant)
    best = lineup.least(query.now_ms if query is not None else 0.0, "") if lineup else None
    state = scene.not_yet.get(one.variant)
    out: dict[str, Any] = {
        "variant": one.variant,
        "accuracy": one.accuracy,
        "cost_per_1000": one.cost,
        "own_ms": one.own_ms,
    }
    if best is not None:
        out |= {"state": best.condition, "worker": best.worker, "backlog": round(best.backlog, 3)}
        if query is not None:
            out["predicted_ms"] = round(best.done_in_ms(one, query, scene.overhead_ms), 3)
    elif state is not None:
        out |= {
            "state": "starting" if state.starting else "cold",
            "ready_in_ms": round(state.ready_in_ms, 1),
            "waiting": state.waiting,
        }
    return out
