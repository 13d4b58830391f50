"""Taking a little at a time only while little comes.

A loop that wakes up for each record pays for the wake-up, for a request of its own to the broker, and so do all behind it; on a busy
machine that costs more than the record does. So once records come faster than one a beat, a beat is waited, and what comes meanwhile
is taken together. Who is alone is never waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BEAT_S = 0.002


class Pace:
    """The beat of one loop.

    Args:
        now: the monotonic clock, s.
        sleep: waits so many s.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._now, self._sleep = now, sleep
        self._took_s, self._hurried = now(), False

    def wait(self) -> None:
        """Before taking: waits for the beat if more than one came within the last."""
        left = self._took_s + BEAT_S - self._now()
        if self._hurried and left > 0:
            self._sleep(left)

    def took(self, records: int) -> None:
        """After taking."""
        now = self._now()
        if records:
            self._hurried = records > 1 or now - self._took_s < BEAT_S / 2
            self._took_s = now
        elif now - self._took_s > BEAT_S:
            self._hurried = False
