"""Which refusals leave a decision record: the first of each second. Pure.

Overload is when queries are refused by the thousand, for one reason, and a record with its inputs costs more than serving a query
does. So a few a second are kept, and how many others there were is told once a second, by code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

MOST_A_SECOND = 50
SECOND_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Refusals that left no record."""

    begun_ms: float
    """When the first of them was decided, epoch ms."""
    ended_ms: float
    """When the last was."""
    by_code: Mapping[str, int]


class Ration:
    """Counts refusals.

    Args:
        most_a_second: may leave a record.
    """

    def __init__(self, most_a_second: int = MOST_A_SECOND) -> None:
        self._most = most_a_second
        self._second_ms = 0.0
        """When the present second began."""
        self._recorded = 0
        self._begun_ms = self._ended_ms = 0.0
        self._left_out: Counter[str] = Counter()

    def allows(self, code: str, now_ms: float) -> bool:
        """Whether a refusal leaves a record; else it is counted."""
        if now_ms - self._second_ms >= SECOND_MS:
            self._second_ms, self._recorded = now_ms, 0
        if self._recorded < self._most:
            self._recorded += 1
            return True
        if not self._left_out:
            self._begun_ms = now_ms
        self._ended_ms = now_ms
        self._left_out[code] += 1
        return False

    def close(self, now_ms: float) -> Unrecorded | None:
        """Those that left none, once their second is over; None if there were none."""
        if not self._left_out or now_ms - self._second_ms < SECOND_MS:
            return None
        unrecorded = Unrecorded(self._begun_ms, self._ended_ms, dict(self._left_out))
        self._left_out.clear()
        return unrecorded
