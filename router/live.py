"""One instance in one life of it, and what is known of its load."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from infaas.router.drain import Drain
from infaas.router.running import RunningAt

Entry = tuple[float, float, str, int, "Live"]
"""Work of one more query (falling: the moment of its end), slowdown, worker, number, the instance."""


class Order(Protocol):
    """Instances in the order of their work."""

    def put(self, live: Live) -> None:
        """One of them has another load than before."""


@dataclass(slots=True, eq=False)
class Live:
    """What is known of it, and how that goes on."""

    boot_id: str
    seen: RunningAt
    drain: Drain
    order: Order | None = None
    """Told when its load is another."""
    entry: Entry | None = None
    """How it stands in that order."""
    turn: int = -1
    """Number of what is expected next: that its work comes to a stand."""
    falls: bool = False
    """Whether its work falls."""
    entries: list[Entry] = field(default_factory=list)
    """Among which it stands: all of them fall, or none."""

    def refresh(self, now_ms: float) -> None:
        """Brings what is seen of it up to now."""
        seen, drain = self.seen, self.drain
        seen.backlog, seen.deadlines = drain.left(now_ms, seen.query_ms), drain.deadlines
        if drain.deadlines:
            drain.trim(seen.backlog)

    def moved(self) -> None:
        """Its load is another than before."""
        if self.order is not None:
            self.order.put(self)
