"""What is to become of a query that can be read, on what is known at one moment. Pure.

1. A name that nobody registered is refused, with some that are known.
2. One that was returned too often has failed.
3. One that nobody wants any more has expired.
4. For any other `select` decides. The scene is asked for only then.
The router does this with each query; `infaas explain` does it again with what the topics still hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from infaas.router.candidates import Catalogue
from infaas.router.incoming import Incoming
from infaas.router.policy import Dispatch, Plan, Query, Reject, Scene, select

MAX_RETURNS = 3
NOTHING = Plan((), (), (), ())
SceneOf = Callable[[tuple[str, ...]], Scene]
"""What runs of these variants, and what could."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A query that ended before a variant was selected for it."""

    decision: Literal["Expire", "Fail"]
    code: str
    reason: str


@dataclass(slots=True)
class Judgement:
    """A decision, and what it was made from."""

    decision: Dispatch | Reject | Ended
    plan: Plan = NOTHING
    """The candidates."""
    scene: Scene = field(default_factory=Scene)
    """What ran, or could, at that moment; it goes on changing."""
    query: Query | None = None
    """What the policy was asked; None = it was not."""


def judge(incoming: Incoming, catalogue: Catalogue, scene_of: SceneOf, now_ms: float) -> Judgement:
    """Decides one query.

    Args:
        incoming: the query.
        catalogue: what there is.
        scene_of: what runs of it.
        now_ms: epoch ms by the broker's clock.
    """
    objective, travel = incoming.objective, incoming.travel
    if not catalogue.known(objective.scope, objective.name):
        known = ", ".join(catalogue.names(objective.scope)) or "none"
        message = f"unknown {objective.scope} {objective.name}; known are: {known}"
        return Judgement(Reject(f"unknown_{objective.scope}", message))
    if travel.attempt >= MAX_RETURNS:
        return Judgement(Ended("Fail", "no_instance", f"{travel.attempt} variants could not be started for it"))
    plan = catalogue.plan(objective)
    if travel.drop_after_ms < now_ms:
        late_ms = now_ms - travel.drop_after_ms
        message = f"the deadline passed {late_ms:.1f} ms ago, before the router saw the query"
        return Judgement(Ended("Expire", "expired", message), plan)
    query = Query(
        objective, travel.deadline_ms - now_ms, frozenset(travel.excluded), travel.drop_after_ms - now_ms, now_ms
    )
    scene = scene_of(plan.names)
    return Judgement(select(plan, scene, query, travel.query_id), plan, scene, query)
