"""Who is dead. Pure: silence is measured in the telemetry topic's own time, against the leader's own ticks in it.

A leader that was itself held up must not take its own pause for the workers' death. So there is no verdict while its ticks have
a gap, soon after it took over, or when most workers fall silent at once (then it is more likely the network).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SILENCE_S = 3.0
MANY_SILENT_S = 10.0
AFTER_TAKEOVER_S = 3.0
GAP_S = 0.6


@dataclass
class Liveness:
    """What was heard of whom, in seconds of the topic's time."""

    silence_s: float = SILENCE_S
    heard: dict[str, float] = field(default_factory=dict)
    """By boot id."""
    last_tick: float | None = None
    steady_since: float | None = None
    """Since when our ticks have come without a gap."""

    def took_over(self) -> None:
        """We lead from now on: what was heard before counts, our ticks begin again."""
        self.last_tick = self.steady_since = None

    def tick(self, at_s: float) -> None:
        """One of our own ticks was read."""
        if self.last_tick is None or at_s - self.last_tick > GAP_S:
            self.steady_since = at_s
        self.last_tick = at_s

    def hear(self, boot_id: str, at_s: float) -> None:
        """A worker's report was read."""
        self.heard[boot_id] = max(at_s, self.heard.get(boot_id, at_s))

    def forget(self, before_s: float) -> None:
        """Drops what was heard before; one that is in the picture still is silent from the next look at it on."""
        self.heard = {boot_id: at_s for boot_id, at_s in self.heard.items() if at_s >= before_s}

    def dead(self, workers: Mapping[str, str]) -> list[str]:
        """Workers to be pronounced dead, of these (name → boot id)."""
        now = self.last_tick
        if now is None or self.steady_since is None or now - self.steady_since < AFTER_TAKEOVER_S:
            return []
        self.heard = {boot: at for boot, at in self.heard.items() if boot in set(workers.values())}
        silent = {}
        for name, boot_id in workers.items():
            # One that was never heard has had since our first look at it.
            silent[name] = now - self.heard.setdefault(boot_id, now)
        late = [name for name, span in silent.items() if span > self.silence_s]
        if len(late) * 2 > len(workers):
            late = [name for name in late if silent[name] > MANY_SILENT_S]
        return sorted(late)
