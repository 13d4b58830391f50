"""Covering one load with instances of several variants at the lowest cost. Pure.

`fill(load, i)` = the cheapest over k in {0, the most that the load fills, the fewest that hold it} of k instances of variant i and
`fill(rest, i + 1)`, the variants by cost of a query ascending. That is not always the optimum (`scaler/optimum.py` is), but
it is within a few per cent of it and takes microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from infaas.policy.usable import Steps

KEPT = 8  # options beyond the eight cheapest a query have not changed a fill of any trace
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Option:
    """A variant that can serve a class."""

    variant: str
    capacity: float
    """Queries/s an instance by itself takes within the class's objective; above 0."""
    cost_per_hour: float
    """C_v, USD."""
    pooled: Steps = ()
    """Queries/s of each of more instances, where that is more."""
    beside: Steps = ()
    """Queries/s of each instance that are due later than the class's, before they hold these up; none = as its own."""

    @property
    def per_query(self) -> float:
        """USD an hour for one query/s at full use of one instance."""
        return self.cost_per_hour / self.capacity

    def rate(self, count: int) -> float:
        """Queries/s that each of so many instances takes."""
        return _step(self.pooled, count, self.capacity)

    def later_rate(self, count: int) -> float:
        """Queries/s due later that each of so many instances can take beside this class's."""
        return max(self.rate(count), _step(self.beside, count, 0.0))

    def more(self, count: int, base: int = 0) -> float:
        """Queries/s that so many instances add to those that are there."""
        there = base * self.rate(base) if base else 0.0
        return (base + count) * self.rate(base + count) - there

    def enough(self, load: float, base: int = 0) -> int:
        """The fewest instances that add this much to those that are there."""
        if load <= EPSILON:
            return 0
        whole = load * (1 - EPSILON) + (base * self.rate(base) if base else 0.0)
        ends = [count for count, _ in self.pooled if count > base + 1]
        least = base + 1
        for end in [*ends, 0]:
            found = max(least, math.ceil(whole / self.rate(least)))
            if not end or found < end:
                return found - base
            least = end
        raise AssertionError("the last step has no end")


def _step(steps: Steps, count: int, at_first: float) -> float:
    rate = at_first
    for least, each in steps:
        if least > count:
            break
        rate = each
    return rate


def useful(options: Sequence[Option], load: float = 0.0, base: Mapping[str, int] | None = None) -> tuple[Option, ...]:
    """Options that are not dominated (as much capacity for no more money), the cheapest a query first, at most eight.

    A query of which option costs how much depends on how many instances of it share the load.
    """
    there = base or {}

    def rate(option: Option) -> float:
        before = there.get(option.variant, 0)
        return option.rate(before + max(1, option.enough(load, before)))

    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (-rate(o), o.cost_per_hour, o.variant)):
        if not any(_dominates(better, option) for better in kept):
            kept.append(option)
    return tuple(sorted(kept, key=lambda o: (o.cost_per_hour / rate(o), rate(o), o.variant))[:KEPT])


def _dominates(better: Option, option: Option) -> bool:
    steps = {1, *(count for count, _ in option.pooled)}
    return better.cost_per_hour <= option.cost_per_hour and all(better.rate(n) >= option.rate(n) for n in steps)


def fill(load: float, options: Sequence[Option], base: Mapping[str, int] | None = None) -> Mapping[str, int]:
    """Instances by variant that take `load` queries/s more at the lowest cost; ties to fewer instances, then the name.

    Empty if there is no load; also if there is no option: the caller knows which of the two.

    Args:
        load: queries/s.
        options: what can take them.
        base: instances that are there, and full.
    """
    there = base or {}
    kept = useful(options, load, there)

    @cache
    def best(left: float, at: int) -> tuple[float, int, tuple[tuple[str, int], ...]] | None:
        if left <= EPSILON:
            return 0.0, 0, ()
        if at == len(kept):
            return None
        option = kept[at]
        before = there.get(option.variant, 0)
        most = option.enough(left, before)
        least = most if option.more(most, before) <= left * (1 + EPSILON) else most - 1
        cheapest = None
        for k in sorted({0, least, most}):
            rest = best(round(max(0.0, left - (option.more(k, before) if k else 0.0)), 9), at + 1)
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
