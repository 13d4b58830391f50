"""How much more load what runs could take. Pure.

Demand is assigned to instances, the class with the fewest options first; headroom is the largest factor by which all demand
could grow and still be assigned (for each variant what `Shared` allows).
Source: INFaaS's headroom, made precise for classes that share instances.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from infaas.scaler.fill import Option
from infaas.scaler.shared import Shared

Class = tuple[float, Sequence[Option]]
"""Queries/s and what can serve them."""
SLACK = 1.05  # INFaaS's threshold: below it the next fluctuation overloads
STEPS = 40
LARGEST = 1e6
EPSILON = 1e-7


def ordered(classes: Sequence[Class]) -> list[Class]:
    """The class with the fewest options first; ties by load, then names: a total order."""
    return sorted(classes, key=lambda c: (len(c[1]), -c[0], sorted(o.variant for o in c[1])))


def leftover(classes: Sequence[Class], fleet: Mapping[str, int], factor: float = 1.0) -> list[tuple[float, Class]]:
    """Queries/s of each class that do not fit on the fleet, with the class; those that fit are left out."""
    users = Counter(o.variant for _, options in classes for o in options)
    shared = {variant: Shared(count) for variant, count in fleet.items() if count}
    out = []
    for demand in ordered(classes):
        left = demand[0] * factor
        for option in sorted(demand[1], key=lambda o: (users[o.variant], _per_query(o, fleet), o.variant)):
            if left <= 0:
                break
            if option.variant in shared:
                left -= shared[option.variant].take(option, left)
        if left > EPSILON * max(1.0, demand[0]):
            out.append((left, demand))
    return out


def served(classes: Sequence[Class], fleet: Mapping[str, int], factor: float = 1.0) -> float:
    """Queries/s, of so many times the demand, that fit on the fleet."""
    return factor * sum(rate for rate, _ in classes) - sum(left for left, _ in leftover(classes, fleet, factor))


def _per_query(option: Option, fleet: Mapping[str, int]) -> float:
    """USD an hour for one query/s at full use of what there is."""
    return option.cost_per_hour / option.rate(fleet.get(option.variant, 1))


def headroom(classes: Sequence[Class], fleet: Mapping[str, int]) -> float:
    """The largest factor at which all demand fits; infinite without demand, 0 if some class has nobody at all."""
    asked = [demand for demand in classes if demand[0] > 0]
    if not asked:
        return math.inf
    if leftover(asked, fleet, 1e-6):
        return 0.0
    low, high = 1e-6, LARGEST
    if not leftover(asked, fleet, high):
        return high
    for _ in range(STEPS):  # by halving the exponent: twelve orders of magnitude to a millionth
        middle = math.sqrt(low * high)
        if leftover(asked, fleet, middle):
            high = middle
        else:
            low = middle
    return low
