"""Which variant, and which instance of it, answers a query: the paper's Algorithm 1, made precise. Pure.

1. Candidates are the eligible variants (accuracy floor, cost limit) that the query does not exclude.
2. Of the *active* ones whose best instance is predicted to be done before the deadline: the best by the query's wish.
   Overloaded and interfered instances are predicted with what is observed, and rank behind all others.
3. Else the *starting* or *cold* one with the lowest ready + inference time, if that makes the deadline.
4. Else a rejection with the nearest variant and the limit that binds; or, if the query is not strict, the nearest, marked.

Invariant: a strict query never gets a variant below its accuracy floor, above its cost limit, or one it excludes.
Source: Romero et al., ATC'21, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from infaas.policy.capacity import capacity
from infaas.policy.price import query_cost
from infaas.schemas.headers import Objective
from infaas.schemas.metadata import ServingState
from infaas.schemas.servable import Servable


@dataclass(frozen=True, slots=True)
class RunningAt:
    """An instance that runs and owns partitions, as the router sees it."""

    worker: str
    instance: int
    condition: ServingState
    backlog: float
    """Queries before a new one."""
    query_ms: float
    """Observed time a query."""
    slowdown: float
    partitions: tuple[int, ...]

    @property
    def expected_work_ms(self) -> float:
        """(backlog + 1) x the observed time a query."""
        return (self.backlog + 1) * self.query_ms

    def done_in_ms(self, profile_p99_ms: float) -> float:
        """When a new query would be answered."""
        return self.backlog * self.query_ms + profile_p99_ms * max(1.0, self.slowdown)


@dataclass(frozen=True, slots=True)
class NotYet:
    """A variant that does not run: starting, or cold."""

    ready_in_ms: float
    waiting: int = 0
    starting: bool = False
    placeable: bool = True
    """Whether any machine could hold it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What runs, and what could."""

    running: Mapping[str, Sequence[RunningAt]] = field(default_factory=dict)
    not_yet: Mapping[str, NotYet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """What the policy has to know of a query."""

    objective: Objective
    budget_ms: float
    """From now to the deadline; infinite = offline."""
    excluded: frozenset[str] = frozenset()
    late_budget_ms: float = math.inf
    """From now until nobody wants it any more, if it is not strict."""


@dataclass(frozen=True, slots=True)
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


def select(
    eligible: Sequence[Servable], everything: Sequence[Servable], scene: Scene, query: Query, salt: str
) -> Dispatch | Reject:
    """Decides one query.

    Args:
        eligible: candidates that meet accuracy floor and cost limit.
        everything: all that can be served in the query's scope, to suggest from.
        scene: what runs.
        query: what is asked.
        salt: breaks ties, the query's id.
    """
    candidates = [one for one in eligible if one.variant not in query.excluded]
    found = _active(candidates, scene, query, salt) or _inactive(candidates, scene, query.budget_ms)
    if found is not None:
        return found
    rest = [one for one in everything if one.variant not in query.excluded]
    code = _binding(candidates, rest, query)
    if not query.objective.strict:
        late = _nearest_served(rest, scene, query, salt)
        if late is not None:
            return late
    return _reject(candidates, rest, scene, query, code)


def _active(candidates: Sequence[Servable], scene: Scene, query: Query, salt: str) -> Dispatch | None:
    best: tuple[tuple[object, ...], Dispatch] | None = None
    for one in candidates:
        instance = _in_time(one, scene, query.budget_ms, salt)
        if instance is None:
            continue
        predicted = instance.done_in_ms(one.profile.p99_ms(1))
        rank = (instance.condition != "active", *_wish(one, predicted, query.objective), one.variant)
        if best is None or rank < best[0]:
            best = rank, Dispatch(one.variant, instance, predicted, f"active, best by {query.objective.optimize}")
    return best[1] if best else None


def _in_time(one: Servable, scene: Scene, budget_ms: float, salt: str) -> RunningAt | None:
    """Of the instances that are done in time the one with the least expected work."""
    p99_ms = one.profile.p99_ms(1)
    return least_work([i for i in scene.running.get(one.variant, ()) if i.done_in_ms(p99_ms) <= budget_ms], salt)


def _inactive(candidates: Sequence[Servable], scene: Scene, budget_ms: float) -> Dispatch | None:
    best: tuple[tuple[object, ...], Dispatch] | None = None
    for one in candidates:
        state = scene.not_yet.get(one.variant)
        if state is None or not state.placeable:
            continue
        predicted = _ready(one, state)
        if predicted > budget_ms:
            continue
        rank = (not state.starting, predicted, one.variant)
        if best is None or rank < best[0]:
            best = rank, Dispatch(one.variant, None, predicted, "starting" if state.starting else "cold")
    return best[1] if best else None


def _ready(one: Servable, state: NotYet) -> float:
    per_query = 1000.0 / capacity(one.profile, None)
    return state.ready_in_ms + state.waiting * per_query + one.profile.p99_ms(1)


def _wish(one: Servable, predicted: float, objective: Objective) -> tuple[float, ...]:
    cost = query_cost(one, objective.latency_ms)
    match objective.optimize:
        case "cost":
            return (cost, -one.accuracy)
        case "accuracy":
            return (-one.accuracy, cost)
        case "latency":
            return (predicted, cost)


def least_work(instances: Sequence[RunningAt], salt: str) -> RunningAt | None:
    """The instance with the least expected work; active ones first, ties by a hash."""
    if len(instances) <= 1:
        return instances[0] if instances else None
    return min(
        instances, key=lambda i: (i.condition != "active", i.expected_work_ms, _tie(i, salt), i.worker, i.instance)
    )


def _tie(instance: RunningAt, salt: str) -> int:
    return crc32(f"{salt}/{instance.worker}/{instance.instance}".encode())


def partition_of(partitions: Sequence[int], salt: str) -> int:
    """One of several partitions, spread by a hash."""
    return partitions[crc32(salt.encode()) % len(partitions)]


def _binding(candidates: Sequence[Servable], rest: Sequence[Servable], query: Query) -> str:
    """The limit that keeps the query from being served."""
    if not rest:
        return "no_variant"
    if candidates:
        return "latency"
    accurate = [one for one in rest if one.accuracy >= query.objective.min_accuracy]
    return "cost" if accurate else "accuracy"


def _nearest_served(rest: Sequence[Servable], scene: Scene, query: Query, salt: str) -> Dispatch | None:
    """What is served instead when the query is not strict: what misses accuracy least, then cost, then time."""
    objective = query.objective
    best: tuple[tuple[object, ...], Dispatch] | None = None
    for one in rest:
        instance = _in_time(one, scene, query.late_budget_ms, salt)
        predicted = instance.done_in_ms(one.profile.p99_ms(1)) if instance is not None else _soonest(one, scene)
        if math.isinf(predicted) or predicted > query.late_budget_ms:
            continue
        short = max(0.0, objective.min_accuracy - one.accuracy)
        expensive = max(0.0, query_cost(one, objective.latency_ms) - objective.max_cost)
        rank = (short, expensive, predicted, one.variant)
        if best is None or rank < best[0]:
            mark = "accuracy" if short else "cost" if expensive else "latency"
            best = rank, Dispatch(one.variant, instance, predicted, f"nearest: {mark} can't be met", mark=mark)
    return best[1] if best else None


def _reject(candidates: Sequence[Servable], rest: Sequence[Servable], scene: Scene, query: Query, code: str) -> Reject:
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
        one = min(accurate, key=lambda c: (query_cost(c, objective.latency_ms), c.variant))
        cost = query_cost(one, objective.latency_ms)
        return Reject(code, f"no variant costs at most {objective.max_cost:g} USD per 1,000 queries", f"{one.variant}: {cost:.3g} USD per 1,000 queries")  # fmt: skip
    soonest = min((_soonest(c, scene), c.variant) for c in candidates)
    if math.isinf(soonest[0]):
        return Reject("no_room", "no machine can hold a variant that meets the objective")
    starting = [scene.not_yet[c.variant] for c in candidates if c.variant in scene.not_yet]
    return Reject(
        code,
        f"no variant answers within the {query.budget_ms:.1f} ms left",
        f"{soonest[1]}: in {soonest[0]:.1f} ms",
        retry_after_ms=min((state.ready_in_ms for state in starting if state.starting), default=None),
    )


def _soonest(one: Servable, scene: Scene) -> float:
    running = scene.running.get(one.variant, ())
    if running:
        return min(i.done_in_ms(one.profile.p99_ms(1)) for i in running)
    state = scene.not_yet.get(one.variant)
    return _ready(one, state) if state is not None and state.placeable else math.inf
