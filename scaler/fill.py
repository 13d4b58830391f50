"""Covering one load with instances of several variants at the lowest cost. Pure.

`fill(load, i)` = the cheapest over k in {0, floor(load / Q_i), ceil(load / Q_i)} of k instances of variant i and
`fill(rest, i + 1)`, the variants by cost of a query ascending. That is not always the optimum (`scaler/optimum.py` is), but
it is within a few per cent of it and takes microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

KEPT = 8  # options beyond the eight cheapest a query have not changed a fill of any trace
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Option:
    """A variant that can serve a class."""

    variant: str
    capacity: float
    """Queries/s one instance takes within the class's objective; above 0."""
    cost_per_hour: float
    """C_v, USD."""

    @property
    def per_query(self) -> float:
        """USD an hour for one query/s at full use."""
        return self.cost_per_hour / self.capacity


def by_query_cost(options: Sequence[Option]) -> list[Option]:
    """Options by cost of a query; ties to the smaller instance, then the name."""
    return sorted(options, key=lambda o: (o.per_query, o.capacity, o.variant))


def useful(options: Sequence[Option]) -> tuple[Option, ...]:
    """Options that are not dominated (as much capacity for no more money), the cheapest a query first, at most eight."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (-o.capacity, o.cost_per_hour, o.variant)):
        if not any(better.cost_per_hour <= option.cost_per_hour for better in kept):
            kept.append(option)
    return tuple(by_query_cost(kept)[:KEPT])


def fill(load: float, options: Sequence[Option]) -> Mapping[str, int]:
    """Instances by variant that take `load` queries/s at the lowest cost; ties to fewer instances, then the name.

    Empty if there is no load; also if there is no option: the caller knows which of the two.
    """
    kept = useful(options)

    @cache
    def best(left: float, at: int) -> tuple[float, int, tuple[tuple[str, int], ...]] | None:
        if left <= EPSILON:
            return 0.0, 0, ()
        if at == len(kept):
            return None
        option = kept[at]
        exact = left / option.capacity
        cheapest = None
        for k in sorted({0, math.floor(exact + EPSILON), math.ceil(exact - EPSILON)}):
            rest = best(round(max(0.0, left - k * option.capacity), 9), at + 1)
            if rest is None:
                continue
            instances = ((option.variant, k),) if k else ()
            candidate = (rest[0] + k * option.cost_per_hour, rest[1] + k, instances + rest[2])
            if cheapest is None or _before(candidate, cheapest):
                cheapest = candidate
        return cheapest

    chosen = best(round(load, 9), 0)
    return {} if chosen is None else dict(sorted(chosen[2]))


def _before(
    left: tuple[float, int, tuple[tuple[str, int], ...]], right: tuple[float, int, tuple[tuple[str, int], ...]]
) -> bool:
    """Cheaper, by more than rounding; else fewer instances; else by name."""
    if abs(left[0] - right[0]) > EPSILON * max(1.0, right[0]):
        return left[0] < right[0]
    return (left[1], sorted(left[2])) < (right[1], sorted(right[2]))
