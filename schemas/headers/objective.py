"""What a caller asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from infaas.schemas.errors import BadHeader
from infaas.schemas.headers.names import (
    DEADLINE,
    EXPLAIN,
    LATE_LIMIT_MS,
    LATENCY_FROM,
    LATENCY_FROM_VALUES,
    LATENCY_MS,
    MAX_COST,
    MIN_ACCURACY,
    OBJECTIVE_NAMES,
    OPTIMIZE,
    OPTIMIZE_VALUES,
    SCOPES,
    STRICT,
    LatencyFrom,
    Optimize,
    ScopeKind,
)
from infaas.schemas.headers.values import HeaderList, HeaderMap, flag, number, number_text, text
from infaas.schemas.names import VariantId, check_name

T = TypeVar("T", bound=str)
LATE_LIMIT_FACTOR = 10
MAX_LATENCY_MS = 86_400_000.0


@dataclass(frozen=True, slots=True)
class Objective:
    """What a caller asks for; hashable, so that like queries can be selected once."""

    scope: ScopeKind
    name: str
    latency_ms: float | None = None
    """From the append to `queries` to the reply; None = an offline query, served when there is room."""
    latency_from: LatencyFrom = "append"
    """`arrival`: the latency counts from when the router sees the query, for records that a commit makes visible."""
    min_accuracy: float = 0.0
    max_cost: float = math.inf
    """USD per 1,000 queries, at the catalogue price."""
    optimize: Optimize = "cost"
    strict: bool = True
    """Refuse what can't be met and drop what is late; else serve the closest, late up to `late_limit_ms`, and mark it."""
    late_limit_ms: float | None = None
    deadline_ms: float | None = None
    """The caller's absolute deadline, epoch ms of the broker's clock; else append time + `latency_ms`."""
    explain: bool = False

    def begin(self, appended_ms: float, arrived_ms: float) -> float:
        """When the latency begins to count, epoch ms."""
        return arrived_ms if self.latency_from == "arrival" else appended_ms

    def deadline(self, begin_ms: float) -> float:
        """When the reply should be there, epoch ms; infinite for an offline query."""
        if self.deadline_ms is not None:
            return self.deadline_ms
        return math.inf if self.latency_ms is None else begin_ms + self.latency_ms

    def drop_after(self, begin_ms: float) -> float:
        """When nobody wants the reply any more, epoch ms."""
        deadline = self.deadline(begin_ms)
        if self.strict or math.isinf(deadline):
            return deadline
        span = max(0.0, deadline - begin_ms)
        limit = self.late_limit_ms if self.late_limit_ms is not None else LATE_LIMIT_FACTOR * span
        return begin_ms + max(limit, span)

    @property
    def offline(self) -> bool:
        """No latency objective and no deadline: served when there is room."""
        return self.latency_ms is None and self.deadline_ms is None


def has_scope(headers: HeaderMap) -> bool:
    """Whether headers say what is asked for, so that the body need not be read."""
    return any(headers.get(name) for name in SCOPES.values())


def parse_objective(headers: HeaderMap) -> Objective:
    """Reads an objective out of headers.

    Raises:
        BadHeader, BadName: naming the header and what was expected.
    """
    scope, name = _scope(headers)
    if not any(header in headers for header in OBJECTIVE_NAMES):  # a name alone is common and quick to read
        return Objective(scope, name)
    latency = number(headers, LATENCY_MS, 0.0, MAX_LATENCY_MS, above=True)
    late = number(headers, LATE_LIMIT_MS, 0.0, MAX_LATENCY_MS)
    return Objective(
        scope=scope,
        name=name,
        latency_ms=latency,
        min_accuracy=number(headers, MIN_ACCURACY, 0.0, 1.0) or 0.0,
        max_cost=math.inf if (cost := number(headers, MAX_COST, 0.0, math.inf)) is None else cost,
        optimize=_choice(headers, OPTIMIZE, OPTIMIZE_VALUES, "cost"),
        latency_from=_choice(headers, LATENCY_FROM, LATENCY_FROM_VALUES, "append"),
        strict=flag(headers, STRICT, default=True),
        late_limit_ms=late,
        deadline_ms=number(headers, DEADLINE, 0.0, 1e15),
        explain=flag(headers, EXPLAIN, default=False),
    )


def objective_headers(objective: Objective) -> HeaderList:
    """The headers that say this objective."""
    out: HeaderList = [(SCOPES[objective.scope], objective.name.encode())]
    if objective.latency_ms is not None:
        out.append((LATENCY_MS, number_text(objective.latency_ms)))
    if objective.latency_from != "append":
        out.append((LATENCY_FROM, objective.latency_from.encode()))
    if objective.min_accuracy:
        out.append((MIN_ACCURACY, number_text(objective.min_accuracy)))
    if not math.isinf(objective.max_cost):
        out.append((MAX_COST, number_text(objective.max_cost)))
    if objective.optimize != "cost":
        out.append((OPTIMIZE, objective.optimize.encode()))
    if not objective.strict:
        out.append((STRICT, b"false"))
    if objective.late_limit_ms is not None:
        out.append((LATE_LIMIT_MS, number_text(objective.late_limit_ms)))
    if objective.deadline_ms is not None:
        out.append((DEADLINE, number_text(objective.deadline_ms)))
    if objective.explain:
        out.append((EXPLAIN, b"true"))
    return out


def _scope(headers: HeaderMap) -> tuple[ScopeKind, str]:
    given = [(kind, header) for kind, header in SCOPES.items() if headers.get(header)]
    if len(given) != 1:
        expected = f"exactly one of {', '.join(SCOPES.values())}"
        raise BadHeader("scope", expected, [header for _, header in given] or "none of them")
    kind, header = given[0]
    name = text(headers[header], header)
    if kind == "variant":
        VariantId.parse(name)
        return kind, name
    return kind, check_name(header, name)


def _choice(headers: HeaderMap, name: str, values: tuple[T, ...], default: T) -> T:
    raw = text(headers.get(name), name)
    if not raw:
        return default
    for value in values:
        if raw == value:
            return value
    raise BadHeader(name, "one of " + ", ".join(values), raw)
