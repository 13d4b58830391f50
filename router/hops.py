"""How long the way to an instance and back takes beside the work: the 99th percentile, as observed. Pure."""

from __future__ import annotations

from collections import deque

from infaas.policy.fits import OVERHEAD_MS

KEPT = 400
KEPT_MS = 10_000.0
FRESH_MS = 200.0
"""How often it is worked out anew."""


class Hops:
    """Learns from this router's own deliveries: what a record takes to its topic, the reply takes as well."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._looked_ms = -FRESH_MS
        self.overhead_ms = OVERHEAD_MS
        """Of both ways."""

    def observe(self, delivery_ms: float, now_ms: float) -> None:
        """One record was confirmed so long after it was sent."""
        self._seen.append((now_ms, delivery_ms))
        if now_ms - self._looked_ms >= FRESH_MS:
            self._look(now_ms)

    def _look(self, now_ms: float) -> None:
        self._looked_ms = now_ms
        while self._seen[0][0] < now_ms - KEPT_MS:  # a broker that stood still then stands still no more
            self._seen.popleft()
        took = sorted(ms for _, ms in self._seen)
        self.overhead_ms = max(OVERHEAD_MS, 2.0 * took[int(0.99 * (len(took) - 1))])
