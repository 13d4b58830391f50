"""What a query may reach: eligible variants of a scope, indexed for one version of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infaas.schemas.headers import Objective, ScopeKind
from infaas.schemas.metadata import Architecture, Variant
from infaas.schemas.profile import Profile

CACHED = 10_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that can be served."""

    variant: str
    accuracy: float
    profile: Profile
    cost_per_hour: float

    def cost_per_1000(self, latency_ms: float | None) -> float:
        """USD per 1,000 queries within an objective; at full speed if it can't meet it (then the deadline decides)."""
        if self.profile.capacity(latency_ms) > 0:
            return self.profile.cost_per_1000(self.cost_per_hour, latency_ms)
        return self.profile.cost_per_1000(self.cost_per_hour, None)


class Catalogue:
    """Candidates by scope; built anew when a variant or an architecture changes."""

    def __init__(self, variants: Mapping[str, Variant], architectures: Mapping[str, Architecture]) -> None:
        self._by_scope: dict[tuple[ScopeKind, str], list[Candidate]] = {}
        self._known: set[tuple[ScopeKind, str]] = set()
        self._eligible: dict[tuple[object, ...], tuple[Candidate, ...]] = {}
        for architecture in architectures.values():
            if architecture.state != "retired":
                self._known |= {("application", architecture.application), ("architecture", architecture.architecture)}
        for variant in variants.values():
            self._add(variant)

    def _add(self, variant: Variant) -> None:
        # A dominated variant is better in nothing, so only a caller who names it gets it.
        if variant.state not in ("ready", "dominated") or variant.profile is None:
            return
        candidate = Candidate(variant.variant, variant.profile.accuracy, variant.profile, variant.cost_per_hour or 0.0)
        scopes: list[tuple[ScopeKind, str]] = [("variant", variant.variant)]
        if variant.state == "ready":
            scopes += [("application", variant.application), ("architecture", variant.architecture)]
        for scope in scopes:
            self._known.add(scope)
            self._by_scope.setdefault(scope, []).append(candidate)

    def known(self, scope: ScopeKind, name: str) -> bool:
        """Whether there is such an application, architecture or variant."""
        return (scope, name) in self._known

    def names(self, scope: ScopeKind) -> list[str]:
        """What there is, for a helpful rejection."""
        return sorted(name for kind, name in self._known if kind == scope)

    def all_of(self, scope: ScopeKind, name: str) -> tuple[Candidate, ...]:
        """Everything that can be served in a scope."""
        return tuple(self._by_scope.get((scope, name), ()))

    def eligible(self, objective: Objective) -> tuple[Candidate, ...]:
        """Candidates that meet the accuracy floor and the cost limit, by name."""
        key = (objective.scope, objective.name, objective.min_accuracy, objective.max_cost, objective.latency_ms)
        found = self._eligible.get(key)
        if found is None:
            found = tuple(
                sorted(
                    (
                        one
                        for one in self.all_of(objective.scope, objective.name)
                        if one.accuracy >= objective.min_accuracy
                        and one.cost_per_1000(objective.latency_ms) <= objective.max_cost
                    ),
                    key=lambda one: one.variant,
                )
            )
            if len(self._eligible) >= CACHED:  # callers choose these numbers: bounded
                self._eligible.clear()
            self._eligible[key] = found
        return found
