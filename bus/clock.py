"""The broker's clock, as far as this process can know it.

Deadlines are compared on machines whose clocks differ. A delivery report of a `LogAppendTime` topic carries the broker's
time, and it lies between our send and our report: each report so bounds the difference between the two clocks.
"""

from __future__ import annotations

import time
from collections import deque

WINDOW = 64


class BrokerClock:
    """Local wall clock plus the offset of the quickest of the last delivery reports."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.offset_ms = 0.0
        """Broker's clock minus ours."""
        self.error_ms = float("inf")
        """Half the round trip the offset was read from; infinite until something was read."""

    def observe(self, sent_ms: float, reported_ms: float, broker_ms: float) -> None:
        """Takes in one delivery report; all three are epoch ms, the first two on our clock."""
        self._seen.append(((reported_ms - sent_ms) / 2, broker_ms - (sent_ms + reported_ms) / 2))
        self.error_ms, offset = min(self._seen)
        # Within its error the clocks may well be the same, which on one machine they are.
        self.offset_ms = 0.0 if abs(offset) <= self.error_ms + 1.0 else offset

    def now_ms(self) -> float:
        """Epoch ms on the broker's clock."""
        return time.time() * 1000.0 + self.offset_ms
