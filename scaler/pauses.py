"""How long a provider is left alone after machines that did not stay. Pure.

A machine that dies as soon as it is there, or never comes, is most likely followed by another that does the same: a wrong image, no
quota, a worker that can't start. Each such loss in a row doubles the pause before the next machine of that type is started. One that
stays ends the row: what dies after it is replaced at once. It is never given up: what was wrong may be put right any time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_S = 2.0
LONGEST_S = 300.0
STAYED_S = 120.0
"""A machine whose worker was there for so long did stay."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Of one machine type; all times monotonic seconds."""

    losses: int = 0
    """Machines in a row that did not stay."""
    lost_at_s: float = -math.inf
    until_s: float = -math.inf
    """No machine is started before."""

    def over(self, now_s: float) -> bool:
        """Whether a machine may be started."""
        return now_s >= self.until_s


def after_loss(pause: Pause, *, came_at_s: float | None, now_s: float) -> Pause:
    """The pause after a machine was lost.

    Args:
        pause: before.
        came_at_s: since when its worker was there; None = it never came, or could not be started.
        now_s: when it was lost.
    """
    if came_at_s is not None and now_s - came_at_s >= STAYED_S:
        return Pause()
    wait_s = min(LONGEST_S, FIRST_S * 2.0 ** min(pause.losses, 30))
    return Pause(pause.losses + 1, now_s, now_s + wait_s)


def after_stay(pause: Pause, *, came_at_s: float, now_s: float) -> Pause:
    """The pause while a machine is there: over, once one stays that came after the last loss.

    One that was there before says nothing: beside it others may die on.
    """
    return Pause() if came_at_s > pause.lost_at_s and now_s - came_at_s >= STAYED_S else pause
