"""What of several classes the instances of one variant can take together. Pure.

Instances take the earliest deadline first. So a class waits for its like, for what is due earlier, and of what is due later for what is
under way alone: `(its own and earlier ones) / rate + (later ones) / later rate <= instances`, for each class that is there. Which
is due earlier follows from the rates: of one variant the more hurried class can use less. Between its two ends the true limit bends outwards,
so that what lies on the line keeps it.
Invariant: no class that is there is over its limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from infaas.scaler.fill import Option


@dataclass(slots=True)
class _Taken:
    rate: float
    later: float
    used: float
    """In instances, as this class counts it."""


class Shared:
    """The instances of one variant.

    Args:
        count: of them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: list[_Taken] = []
        self._amounts: list[float] = []

    def take(self, option: Option, most: float) -> float:
        """Takes in as much as fits; returns how much, queries/s."""
        rate, later = option.rate(self._count), option.later_rate(self._count)
        pairs = list(zip(self._taken, self._amounts, strict=True))
        used = sum(amount / (rate if other.rate <= rate else later) for other, amount in pairs)
        amount = min(most, (self._count - used) * rate)
        for other in self._taken:
            amount = min(amount, (self._count - other.used) * _counted(other, rate))
        if amount <= 0:
            return 0.0
        for other in self._taken:
            other.used += amount / _counted(other, rate)
        self._taken.append(_Taken(rate, later, used + amount / rate))
        self._amounts.append(amount)
        return amount


def _counted(other: _Taken, rate: float) -> float:
    """How much of a class with this rate one instance takes, as another class that is there counts it."""
    return other.rate if rate <= other.rate else other.later
