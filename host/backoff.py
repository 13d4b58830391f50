"""The pause before something that failed is tried again."""

from __future__ import annotations

FIRST_S, LONGEST_S = 0.2, 5.0


class Backoff:
    """Doubles with each failure in a row, up to a limit; monotonic seconds are given by the caller."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.failures = 0
        """In a row."""
        self.not_before_s = 0.0

    def fail(self, now_s: float) -> None:
        """Another failure."""
        self.not_before_s = now_s + min(self._longest_s, self._first_s * 2 ** min(self.failures, 30))
        self.failures += 1

    def clear(self) -> None:
        """It works: the next pause is short again."""
        self.failures, self.not_before_s = 0, 0.0

    def over(self, now_s: float) -> bool:
        """Whether it may be tried."""
        return now_s >= self.not_before_s
