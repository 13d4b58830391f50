"""What a query may reach: eligible variants of a scope, indexed for one version of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest

from infaas.policy.price import query_cost
from infaas.router.policy import Plan
from infaas.schemas.headers import Objective, ScopeKind
from infaas.schemas.metadata import Architecture, Variant
from infaas.schemas.servable import Servable

CACHED = 10_000
NAMED = 10


class Catalogue:
    """Candidates by scope; built again when a variant or an architecture changes."""

    def __init__(self, variants: Mapping[str, Variant], architectures: Mapping[str, Architecture]) -> None:
        self._by_scope: dict[tuple[ScopeKind, str], list[Servable]] = {}
        self._names: dict[ScopeKind, tuple[str, ...]] = {}
        self._known: set[tuple[ScopeKind, str]] = set()
        self._plans: dict[tuple[object, ...], Plan] = {}
        for architecture in architectures.values():
            if architecture.state != "retired":
                self._known |= {("application", architecture.application), ("architecture", architecture.architecture)}
        for variant in variants.values():
            self._add(variant)

    def _add(self, variant: Variant) -> None:
        # A dominated variant is better in nothing, so only a caller who names it gets it.
        candidate = Servable.of(variant)
        if candidate is None:
            return
        scopes: list[tuple[ScopeKind, str]] = [("variant", variant.variant)]
        if variant.state == "ready":
            scopes += [("application", variant.application), ("architecture", variant.architecture)]
        for scope in scopes:
            self._known.add(scope)
            self._by_scope.setdefault(scope, []).append(candidate)

    def known(self, scope: ScopeKind, name: str) -> bool:
        """Whether there is such an application, architecture or variant."""
        return (scope, name) in self._known

    def names(self, scope: ScopeKind) -> tuple[str, ...]:
        """Some of what there is, for a helpful rejection."""
        if scope not in self._names:
            self._names[scope] = tuple(nsmallest(NAMED, (name for kind, name in self._known if kind == scope)))
        return self._names[scope]

    def all_of(self, scope: ScopeKind, name: str) -> tuple[Servable, ...]:
        """Everything that can be served in a scope."""
        return tuple(self._by_scope.get((scope, name), ()))

    def plan(self, objective: Objective) -> Plan:
        """The candidates that meet the accuracy floor and the cost limit, ranked, and all that there are in the scope."""
        key = (
            objective.scope, objective.name, objective.min_accuracy, objective.max_cost, objective.latency_ms, objective.optimize,
        )  # fmt: skip
        plan = self._plans.get(key)
        if plan is None:
            everything = self.all_of(objective.scope, objective.name)
            eligible = (
                one
                for one in everything
                if one.accuracy >= objective.min_accuracy
                and query_cost(one, objective.latency_ms) <= objective.max_cost
            )
            plan = Plan.of(objective, eligible, everything)
            if len(self._plans) >= CACHED:  # callers choose these numbers: bounded
                self._plans.clear()
            self._plans[key] = plan
        return plan
