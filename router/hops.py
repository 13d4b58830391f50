"""How long the way to an instance and back takes beside the work: as slow as one in ten, as observed. Pure."""

from __future__ import annotations

from collections import deque

from infaas.policy.fits import OVERHEAD_MS

KEPT = 400
QUANTILE = 0.9
"""Of one way. Both at their 99th percentile at once are a case in ten thousand, and a young broker stalls for 30 ms at times: twice
that refused every query of 60 ms for ten seconds."""
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
        self.overhead_ms = max(OVERHEAD_MS, 2.0 * took[int(QUANTILE * (len(took) - 1))])
