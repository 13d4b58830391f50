"""What was sent and is not confirmed yet: how much, since when nothing was heard of it, and what of it gets stale.

Exact whoever sends: a record is counted before the client has it, since its report may come before its sender goes on, in
another thread. Every change is made under one lock, and nothing is called back from within.
"""

from __future__ import annotations

import math
import threading
from itertools import count

DECAY, HALF_S = 0.98, 1.0
"""What was slow is forgotten with each record that was not, and with time: who sends little would believe in it for minutes."""


class Unconfirmed:
    """Counts records from just before they are sent to their report; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._stale_ms: dict[int, float] = {}
        self._silent_since_s: float | None = None  # something is to be confirmed, and since then nothing was
        self._slowest_s = self._confirmed_s = 0.0

    def begin(self, now_s: float, stale_ms: float = math.inf) -> int:
        """Counts a record that is about to be sent; returns its number.

        Args:
            now_s: on a monotonic clock, as all moments here.
            stale_ms: when it says something that is no longer true, epoch ms.
        """
        with self._lock:
            number = next(self._numbers)
            self._stale_ms[number] = stale_ms
            if self._silent_since_s is None:
                self._silent_since_s = now_s
            return number

    def withdraw(self, number: int, begun_s: float) -> None:
        """It was not sent after all, so nobody is silent on its account."""
        with self._lock:
            self._stale_ms.pop(number, None)
            if not self._stale_ms and self._silent_since_s == begun_s:
                self._silent_since_s = None

    def confirm(self, number: int, sent_s: float, now_s: float, took_s: float | None = None) -> None:
        """It stands in its topic, and has for a while if it took less than until now."""
        with self._lock:
            self._stale_ms.pop(number, None)
            slow_s = DECAY * self._slowest_s * 0.5 ** (max(0.0, now_s - self._confirmed_s) / HALF_S)
            self._slowest_s, self._confirmed_s = max(now_s - sent_s if took_s is None else took_s, slow_s), now_s
            self._silent_since_s = now_s if self._stale_ms else None

    def fail(self, number: int) -> None:
        """It was given up; that is no sign of life of a broker."""
        with self._lock:
            self._stale_ms.pop(number, None)

    def rest(self) -> None:
        """What failed will not be sent again: if nothing else is to be confirmed, nobody is silent."""
        with self._lock:
            if not self._stale_ms:
                self._silent_since_s = None

    def __len__(self) -> int:
        return len(self._stale_ms)

    def silent_s(self, now_s: float) -> float:
        """For how long nothing was confirmed although something is to be."""
        with self._lock:
            return 0.0 if self._silent_since_s is None else max(0.0, now_s - self._silent_since_s)

    def delivery_s(self, now_s: float) -> float:
        """How long a record sent now may take: as the slowest of late, or as long as nothing is confirmed."""
        silent_s = self.silent_s(now_s)
        return max(self._slowest_s, silent_s)

    def any_stale(self, now_ms: float) -> bool:
        """Whether any says something that is no longer true."""
        with self._lock:
            return min(self._stale_ms.values(), default=math.inf) < now_ms
