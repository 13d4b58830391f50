"""One instance in one life of it, and what is known of its load."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.router.drain import Drain
from infaas.router.policy import RunningAt


@dataclass(slots=True)
class Live:
    """What is known of it, and how that goes on."""

    boot_id: str
    seen: RunningAt
    drain: Drain

    def refresh(self, now_ms: float) -> None:
        """Brings what is seen of it up to now."""
        seen, drain = self.seen, self.drain
        seen.backlog = drain.left(now_ms, seen.query_ms)
        if drain.deadlines:
            drain.trim(seen.backlog)
