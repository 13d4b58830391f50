"""What a supervisor has heard of one child process, and whether that is too long ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infaas.host.deadlines import HEARTBEAT_S, SILENCE_S
from infaas.host.messages import BatchBegan, Stats

ABSENCE_S = 2 * HEARTBEAT_S
"""A supervisor that has not looked for longer was away itself: the child's clocks stood still as well."""


@dataclass(slots=True)
class Heard:
    """Of one process; all times are monotonic seconds."""

    heard_s: float
    """When it last said anything."""
    looked_s: float
    """When its supervisor last looked."""
    overdue_s: float | None = None
    """When the batch that runs is overdue; None = none runs."""
    alone: bool = False
    """Whether the batch is one record that may have killed before."""
    furthest: Mapping[int, int] = field(default_factory=dict)
    """Partition → the offset after the furthest record taken."""
    stats: Stats | None = None
    stats_s: float = 0.0

    def began(self, batch: BatchBegan, now_s: float) -> None:
        """A batch runs."""
        self.overdue_s = now_s + batch.limit_ms / 1000.0
        self.alone, self.furthest = batch.alone, dict(batch.furthest)

    def ended(self) -> None:
        """It has run."""
        self.overdue_s, self.alone = None, False

    def look(self, now_s: float) -> None:
        """The supervisor looks; time in which it did not (it was stopped, or had the view to read) counts for nobody."""
        absent_s = now_s - self.looked_s
        self.looked_s = now_s
        if absent_s > ABSENCE_S:
            self.heard_s += absent_s
            if self.overdue_s is not None:
                self.overdue_s += absent_s

    def stuck(self, now_s: float, silence_s: float = SILENCE_S) -> str | None:
        """Why it counts as dead; None = it does not."""
        if self.overdue_s is not None:
            return "its batch was overdue" if now_s > self.overdue_s else None
        return f"silent for {silence_s:g} s" if now_s - self.heard_s > silence_s else None

    def age_ms(self, now_s: float) -> float:
        """How old the stats are."""
        return round((now_s - self.stats_s) * 1000.0, 1) if self.stats else 0.0
