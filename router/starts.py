"""How long a variant that does not run takes to run, learned from its own starts. Pure.

Each variant is taken to need what is usual until it has shown otherwise twice: one start on a busy machine must not make it
look out of reach, since what is never sent there never starts again and never shows better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field

PROCESS_START_MS = 600.0  # a Python process that imports an engine
CONTROL_DELAY_MS = 300.0  # from a wish to a started process
USUAL_MS = CONTROL_DELAY_MS + PROCESS_START_MS
USUAL_TIMES = 2  # the usual counts as so many starts seen
QUANTILE = 0.75
KEPT = 16
FORGET_MS = 3_600_000.0


@dataclass(slots=True)
class Starts:
    """Observed times from a wish to a serving instance, less the model's own load time, by variant."""

    _seen: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)

    def observe(self, variant: str, took_ms: float, now_ms: float) -> None:
        """Takes in one start."""
        self._seen.setdefault(variant, deque(maxlen=KEPT)).append((now_ms, max(0.0, took_ms)))

    def delay_ms(self, variant: str, now_ms: float) -> float:
        """What the next start is taken to need: a quantile of what was seen in the last hour and of what is usual."""
        seen = [took for at, took in self._seen.get(variant, ()) if now_ms - at <= FORGET_MS]
        times = sorted([USUAL_MS] * USUAL_TIMES + seen)
        return times[int(QUANTILE * (len(times) - 1))]

    def forget(self, kept: Container[str]) -> None:
        """Drops variants that are no longer there."""
        self._seen = {variant: seen for variant, seen in self._seen.items() if variant in kept}
