"""Which variant, and which instance of it, answers a query: the paper's Algorithm 1, made precise. Pure.

1. Candidates are the eligible variants (accuracy floor, cost limit) that the query does not exclude.
2. Of the *active* ones that have an instance which is done before the deadline (`policy.fits`): the best by the query's wish, and
   of its instances the one with the least expected work. Overloaded and interfered ones rank behind all others.
3. Else the *starting* or *cold* one with the lowest ready + inference time, if that makes the deadline.
4. Else a rejection with the nearest variant and the limit that binds; or, if the query is not strict, the nearest, marked.

Invariant: a strict query never gets a variant below its accuracy floor, above its cost limit, or one it excludes.
Source: Romero et al., ATC'21, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from infaas.policy.capacity import capacity
from infaas.policy.fits import OVERHEAD_MS, done_in_ms
from infaas.policy.price import query_cost
from infaas.router.lineup import Lineup
from infaas.router.running import RunningAt
from infaas.schemas.headers import OPTIMIZE_VALUES, Objective
from infaas.schemas.servable import Servable


@dataclass(frozen=True, slots=True)
class NotYet:
    """A variant that does not run: starting, or cold."""

    ready_in_ms: float
    waiting: int = 0
    starting: bool = False
    """It starts, or is to: a router has said that it is wanted."""
    placeable: bool = True
    """Whether any machine could hold it."""


@dataclass(slots=True)
class Scene:
    """What runs, and what could."""

    running: Mapping[str, Lineup] = field(default_factory=dict)
    not_yet: Mapping[str, NotYet] = field(default_factory=dict)
    overhead_ms: float = OVERHEAD_MS
    """Of the hops to an instance and back, as observed."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A variant, with what of it does not depend on the moment."""

    servable: Servable
    variant: str
    """Its name."""
    own_ms: float
    """Median time of a query by itself."""
    each_ms: float
    """Time a query at full use."""
    at_once: int
    """Its largest batch."""
    cost: float
    """USD per 1,000 queries of this objective."""
    wish: tuple[float, ...]
    """What the query's `optimize` makes of it, the lowest first; of `latency` only what decides between equals."""

    @property
    def accuracy(self) -> float:
        """On the validation set."""
        return self.servable.accuracy

    @classmethod
    def of(cls, one: Servable, objective: Objective) -> Ranked:
        """For queries of this objective."""
        cost = query_cost(one, objective.latency_ms)
        match objective.optimize:
            case "cost":
                wish: tuple[float, ...] = (cost, -one.accuracy)
            case "accuracy":
                wish = (-one.accuracy, cost)
            case "latency":
                wish = (cost,)
        profile = one.profile
        each_ms = 1000.0 / capacity(profile, None)
        return cls(one, one.variant, profile.latency_ms(1), each_ms, profile.max_batch, cost, wish)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all queries of like objectives have in common, for one version of the catalogue."""

    eligible: tuple[Ranked, ...]
    """Candidates that meet accuracy floor and cost limit, the best by `optimize` first."""
    everything: tuple[Ranked, ...]
    """All that can be served in the scope, to suggest from."""
    names: tuple[str, ...]
    """Of all of these."""
    eligible_names: tuple[str, ...]
    """Sorted."""

    @classmethod
    def of(cls, objective: Objective, eligible: Iterable[Servable], everything: Iterable[Servable]) -> Plan:
        """Ranks the candidates."""
        ranked = tuple(sorted((Ranked.of(one, objective) for one in eligible), key=lambda one: (one.wish, one.variant)))
        rest = tuple(sorted((Ranked.of(one, objective) for one in everything), key=lambda one: one.variant))
        names = tuple(sorted(one.variant for one in ranked))
        return cls(ranked, rest, tuple(one.variant for one in rest), names)


@dataclass(slots=True)
class Query:
    """What the policy has to know of a query."""

    objective: Objective
    budget_ms: float
    """From now to the deadline; infinite = offline."""
    excluded: frozenset[str] = frozenset()
    late_budget_ms: float = math.inf
    """From now until nobody wants it any more, if it is not strict."""
    now_ms: float = 0.0
    """Epoch ms by the broker's clock."""


@dataclass(slots=True)
class Dispatch:
    """Send it there."""

    variant: str
    instance: RunningAt | None
    """None = to all partitions of a variant that does not run yet: it is wanted."""
    predicted_ms: float
    reason: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """Say no, and what would have been possible."""

    code: str
    message: str
    suggestion: str | None = None
    retry_after_ms: float | None = None
    """When something that starts, and would do, should be ready."""


def select(plan: Plan, scene: Scene, query: Query, salt: str) -> Dispatch | Reject:
    """Decides one query.

    Args:
        plan: candidates for its objective.
        scene: what runs.
        query: what is asked.
        salt: breaks ties, the query's id.
    """
    candidates: Sequence[Ranked] = plan.eligible
    if query.excluded:
        candidates = [one for one in candidates if one.variant not in query.excluded]
    found = _active(candidates, scene, query, salt) or _inactive(candidates, scene, query.budget_ms)
    if found is not None:
        return found
    rest: Sequence[Ranked] = plan.everything
    if query.excluded:
        rest = [one for one in rest if one.variant not in query.excluded]
    if plan.everything and not rest:
        tried = ", ".join(sorted(query.excluded))
        return Reject("no_variant", f"it was sent to all that there is, and nothing could run it in time: {tried}")
    code = _binding(candidates, rest, query)
    if not query.objective.strict:
        late = _nearest_served(rest, scene, query, salt)
        if late is not None:
            return late
    return _reject(candidates, rest, scene, query, code)


def _active(candidates: Sequence[Ranked], scene: Scene, query: Query, salt: str) -> Dispatch | None:
    """The best that is in time; of what is overloaded or interfered only if nothing else is."""
    by_latency = query.objective.optimize == "latency"
    best: tuple[tuple[object, ...], Dispatch] | None = None
    for one in candidates:
        found = _in_time(one, scene, query, query.budget_ms, salt)
        if found is None:
            continue
        instance, predicted = found
        dispatch = Dispatch(one.variant, instance, predicted, _WHY[query.objective.optimize])
        healthy = instance.condition == "active"
        if healthy and not by_latency:
            return dispatch  # they come in the order of the wish
        wish = (predicted, *one.wish) if by_latency else one.wish
        rank = (not healthy, *wish, one.variant)
        if best is None or rank < best[0]:
            best = rank, dispatch
    return best[1] if best else None


_WHY = {optimize: f"active, best by {optimize}" for optimize in OPTIMIZE_VALUES}


def _in_time(one: Ranked, scene: Scene, query: Query, budget_ms: float, salt: str) -> tuple[RunningAt, float] | None:
    """Of the instances that are done in time the one with the least expected work, and in how many ms it is done."""
    lineup = scene.running.get(one.variant)
    return None if lineup is None else lineup.take(one, query, scene.overhead_ms, budget_ms, salt)


def _inactive(candidates: Sequence[Ranked], scene: Scene, budget_ms: float) -> Dispatch | None:
    best: tuple[tuple[object, ...], Dispatch] | None = None
    for one in candidates if scene.not_yet else ():
        state = scene.not_yet.get(one.variant)
        if state is None or not state.placeable:
            continue
        predicted = _ready(one, state, scene.overhead_ms)
        if predicted > budget_ms:
            continue
        rank = (not state.starting, predicted, one.variant)
        if best is None or rank < best[0]:
            best = rank, Dispatch(one.variant, None, predicted, "starting" if state.starting else "cold")
    return best[1] if best else None


def _ready(one: Ranked, state: NotYet, overhead_ms: float) -> float:
    return state.ready_in_ms + done_in_ms(state.waiting * one.each_ms, one.own_ms, overhead_ms)


def _binding(candidates: Sequence[Ranked], rest: Sequence[Ranked], query: Query) -> str:
    """The limit that keeps the query from being served."""
    if not rest:
        return "no_variant"
    if candidates:
        return "latency"
    accurate = [one for one in rest if one.accuracy >= query.objective.min_accuracy]
    return "cost" if accurate else "accuracy"


def _nearest_served(rest: Sequence[Ranked], scene: Scene, query: Query, salt: str) -> Dispatch | None:
    """What is served instead when the query is not strict: what misses accuracy least, then cost, then time."""
    objective = query.objective
    best: tuple[tuple[object, ...], Dispatch] | None = None
    for one in rest:
        found = _in_time(one, scene, query, query.late_budget_ms, salt)
        if found is None and one.variant in scene.running:
            continue
        instance, predicted = found or (None, _soonest(one, scene, query))
        if math.isinf(predicted) or predicted > query.late_budget_ms:
            continue
        short = max(0.0, objective.min_accuracy - one.accuracy)
        expensive = max(0.0, one.cost - objective.max_cost)
        rank = (short, expensive, predicted, one.variant)
        if best is None or rank < best[0]:
            mark = "accuracy" if short else "cost" if expensive else "latency"
            best = rank, Dispatch(one.variant, instance, predicted, f"nearest: {mark} can't be met", mark=mark)
    return best[1] if best else None


def _reject(candidates: Sequence[Ranked], rest: Sequence[Ranked], scene: Scene, query: Query, code: str) -> Reject:
    objective = query.objective
    if code == "no_variant":
        return Reject(code, f"{objective.scope} {objective.name} has no variant that is ready")
    if code == "accuracy":
        one = max(rest, key=lambda c: (c.accuracy, c.variant))
        return Reject(
            code,
            f"no variant reaches accuracy {objective.min_accuracy:g}",
            f"{one.variant}: accuracy {one.accuracy:.4f}",
        )
    if code == "cost":
        accurate = [c for c in rest if c.accuracy >= objective.min_accuracy]
        one = min(accurate, key=lambda c: (c.cost, c.variant))
        return Reject(code, f"no variant costs at most {objective.max_cost:g} USD per 1,000 queries", f"{one.variant}: {one.cost:.3g} USD per 1,000 queries")  # fmt: skip
    soonest_ms, name = math.inf, ""
    for one in candidates:
        done_ms = _soonest(one, scene, query, soonest_ms)
        if done_ms <= soonest_ms and (done_ms < soonest_ms or one.variant < name):
            soonest_ms, name = done_ms, one.variant
    if math.isinf(soonest_ms):
        return Reject("no_room", "no machine can hold a variant that meets the objective")
    return Reject(
        code,
        f"no variant answers within the {query.budget_ms:.1f} ms left",
        f"{name}: in {soonest_ms:.1f} ms",
        retry_after_ms=_starts_in_ms(candidates, scene),
    )


def _starts_in_ms(candidates: Sequence[Ranked], scene: Scene) -> float | None:
    """When the first of those that start should be ready; None = none does."""
    if not scene.not_yet:
        return None
    states = [scene.not_yet[one.variant] for one in candidates if one.variant in scene.not_yet]
    return min((state.ready_in_ms for state in states if state.starting), default=None)


def _soonest(one: Ranked, scene: Scene, query: Query, limit: float = math.inf) -> float:
    """When it would be answered at the earliest; if that is above the limit, something above it."""
    lineup = scene.running.get(one.variant)
    if lineup:
        return lineup.soonest(one, query, scene.overhead_ms, limit)
    state = scene.not_yet.get(one.variant)
    return _ready(one, state, scene.overhead_ms) if state is not None and state.placeable else math.inf
