"""The broker's clock, as far as this process can know it.

Deadlines are compared on machines whose clocks differ. A delivery report of a `LogAppendTime` topic carries the broker's
time, taken between our send and our report: on our monotonic clock each report so bounds the broker's epoch from both sides.
What several reports allow together is narrower than what one allows. Between reports the bounds widen by what clocks may
drift, and a report that contradicts them (the broker's clock was set) stands alone. Our wall clock, which may be set at any
moment, only chooses within the bounds, and is all there is before the first report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

STAMP_MS = 1.0  # a broker's stamp is cut to whole milliseconds
DRIFT = 5e-4  # what NTP slews at most; free-running clocks drift a tenth of it


elapsed_s: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds since some moment, a machine's sleep included where the system can tell."""


def wall_ms() -> float:
    """Epoch ms on this machine's clock."""
    return time.time() * 1000.0


class BrokerClock:
    """Epoch time on the broker's clock.

    Args:
        monotonic: seconds, never set; `observe` is given moments of it.
        wall: epoch ms of this machine.
    """

    def __init__(self, *, monotonic: Callable[[], float] = elapsed_s, wall: Callable[[], float] = wall_ms) -> None:
        self.monotonic, self._wall = monotonic, wall
        self._epoch_ms: float | None = None
        self._low = self._high = self._at_s = 0.0

    def observe(self, sent_s: float, reported_s: float, broker_ms: float) -> None:
        """Takes in one delivery report; the first two are moments of `monotonic`."""
        low, high = broker_ms - reported_s * 1000.0, broker_ms + STAMP_MS - sent_s * 1000.0
        if self._epoch_ms is not None:
            drift = max(0.0, reported_s - self._at_s) * 1000.0 * DRIFT
            narrow = max(low, self._low - drift), min(high, self._high + drift)
            if narrow[0] <= narrow[1]:
                low, high = narrow
        self._low, self._high, self._at_s = low, high, reported_s
        ours = self._wall() - self.monotonic() * 1000.0
        self._epoch_ms = min(max(ours, low), high)

    @property
    def error_ms(self) -> float:
        """How far off `now_ms` may have been at the last report; infinite until there was one."""
        return float("inf") if self._epoch_ms is None else self._high - self._low

    @property
    def offset_ms(self) -> float:
        """Broker's clock minus our wall clock; 0 until there was a report."""
        return 0.0 if self._epoch_ms is None else self.now_ms() - self._wall()

    def now_ms(self) -> float:
        """Epoch ms on the broker's clock."""
        return self._wall() if self._epoch_ms is None else self.monotonic() * 1000.0 + self._epoch_ms

    def at_ms(self, moment_s: float) -> float:
        """The same at a moment of `monotonic` that is not long ago."""
        if self._epoch_ms is None:
            return self._wall() - (self.monotonic() - moment_s) * 1000.0
        return moment_s * 1000.0 + self._epoch_ms
