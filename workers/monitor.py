"""What an instance observes of itself, and the state that follows: active, overloaded or interfered.

Overloaded: arrivals at or above what it can do. Interfered: slower than its profile while below that. Each is entered and
left at different limits and only after several slots, so that noise moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from infaas.host.messages import LastBatch
from infaas.schemas.metadata import ServingState

SMOOTH = 0.2
# A fifth apart: noise of 20 % at the limit that is entered may move it up, and then never down.
ENTER_LOAD, LEAVE_LOAD = 1.0, 0.8
ENTER_SLOW, LEAVE_SLOW = 1.5, 1.2
SLOTS = 4
# A batch of microseconds is some hundred in a process that also talks to Kafka: that is no neighbour's doing.
FLOOR_MS = 2.0


@dataclass(frozen=True, slots=True)
class Observed:
    """Smoothed observations; `observe` and `slot` give the next."""

    query_ms: float = 0.0
    """Time a query, the instance's own path included; 0 = nothing observed."""
    slowdown: float = 1.0
    """Batch latency over the profile's."""
    state: ServingState = "active"
    streak: int = 0
    """Slots in a row that ask for another state."""

    def observe(self, last: LastBatch, *, path_ms: float = 0.0) -> Observed:
        """Takes in one batch, and what the instance takes beside it."""
        each = (last.took_ms + path_ms) / max(1, last.queries)
        query_ms = each if self.query_ms == 0 else self.query_ms + SMOOTH * (each - self.query_ms)
        slow = last.took_ms / max(last.expected_ms, FLOOR_MS) if last.expected_ms > 0 else 1.0
        return Observed(query_ms, self.slowdown + SMOOTH * (slow - self.slowdown), self.state, self.streak)

    def slot(self, *, arrivals_per_s: float, capacity_per_s: float) -> Observed:
        """Takes in one slot of time."""
        load = arrivals_per_s / capacity_per_s if capacity_per_s > 0 else 0.0
        slowdown = self.slowdown
        if arrivals_per_s <= 0:  # who is avoided for being slow must become quick again unobserved
            slowdown += SMOOTH * (1.0 - slowdown)
        wanted = self._wanted(load)
        if wanted == self.state:
            return Observed(self.query_ms, slowdown, self.state, 0)
        if self.streak + 1 >= SLOTS:
            return Observed(self.query_ms, slowdown, wanted, 0)
        return Observed(self.query_ms, slowdown, self.state, self.streak + 1)

    def _wanted(self, load: float) -> ServingState:
        if load >= (LEAVE_LOAD if self.state == "overloaded" else ENTER_LOAD):
            return "overloaded"
        if self.slowdown >= (LEAVE_SLOW if self.state == "interfered" else ENTER_SLOW) and load > 0:
            return "interfered"
        return "active"
