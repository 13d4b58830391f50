"""How much more load what runs could take. Pure.

Demand is assigned to instances, the class with the fewest options first; headroom is the largest factor by which all demand
could grow and still be assigned (`sum over classes of x / Q <= instances` for each variant).
Source: INFaaS's headroom, made precise for classes that share instances.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from infaas.scaler.fill import Option

Class = tuple[float, Sequence[Option]]
"""Queries/s and what can serve them."""
STEPS = 40
LARGEST = 1e6
EPSILON = 1e-7


def ordered(classes: Sequence[Class]) -> list[Class]:
    """The class with the fewest options first; ties by load, then names: a total order."""
    return sorted(classes, key=lambda c: (len(c[1]), -c[0], sorted(o.variant for o in c[1])))


def leftover(classes: Sequence[Class], fleet: Mapping[str, int], factor: float = 1.0) -> list[tuple[float, Class]]:
    """Queries/s of each class that do not fit on the fleet, with the class; those that fit are left out."""
    users = Counter(o.variant for _, options in classes for o in options)
    # In one queue patient queries delay those in a hurry: an instance that serves both is kept as free as these need it.
    rates: dict[str, float] = {}
    spare = {variant: float(count) for variant, count in fleet.items()}
    out = []
    for demand in ordered(classes):
        left = demand[0] * factor
        for option in sorted(demand[1], key=lambda o: (users[o.variant], o.per_query, o.variant)):
            rate = min(option.capacity, rates.get(option.variant, math.inf))
            take = min(left, spare.get(option.variant, 0.0) * rate)
            if take > 0:
                rates[option.variant] = rate
                spare[option.variant] -= take / rate
                left -= take
        if left > EPSILON * max(1.0, demand[0]):
            out.append((left, demand))
    return out


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
