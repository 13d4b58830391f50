"""How long ending takes, from the inside out: who waits for something waits longer than it may take.

    drain < release < kill < stop < machine < stack

An instance drains; its supervisor waits for the release, then kills, says what became of it and stops; whoever stops the
supervisor (a provisioner, then the stack) waits for that. A limit that is not above the one inside it cuts off the inner
one's last words: a fact that is never written, for which a successor waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable

HEARTBEAT_S = 0.5
"""A child says something at least this often."""
SILENCE_S = 5.0
"""After which an idle instance that says nothing is taken for dead."""
LEASE_S = 2.0
"""An instance that has not heard its supervisor for so long stands still. It is below the silence after which a worker is
pronounced dead (3 s): by then others have its partitions, and would answer everything a second time."""
BUILD_SILENCE_S = 60.0
"""The same of a build, which loads models in calls that may hold the interpreter for long."""

DRAIN_S = 8.0
"""An instance finishes what is in hand and confirms it."""
RELEASE_S = DRAIN_S + 2.0
"""A supervisor waits for a partition to be released, or for an instance to end; then it kills."""
KILL_S = RELEASE_S + 2.0
"""By then what was killed is gone."""
STOP_S = KILL_S + 3.0
"""A supervisor has said what became of its instances, and has ended."""
MACHINE_STOP_S = STOP_S + 2.0
"""A provisioner waits for a worker."""
STACK_STOP_S = MACHINE_STOP_S + 3.0
"""A stack waits for its services."""


class Deadline:
    """One moment that everything done on the way to it shares.

    Args:
        within_s: from now.
        now: monotonic seconds.
    """

    def __init__(self, within_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._at = now, now() + within_s

    @property
    def left_s(self) -> float:
        """How long until then; 0 when it is over."""
        return max(0.0, self._at - self._now())

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return self._now() >= self._at
