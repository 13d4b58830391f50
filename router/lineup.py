"""The instances of one variant, the one with the least expected work first: kept in order, never sorted for a query.

A report or a send moves one instance; time moves those whose work has come to a stand, each once. Whether nothing at all is in time
is seen from a second order, by when each would have answered one more query. An instance runs the earliest deadline first, so a
query that is due before some that wait there is answered earlier than that: such instances are looked at one by one, and only where
none that was to be taken is in time.

Active instances go before overloaded and interfered ones. Of equals (as much work, as quick) a hash of the query decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from infaas.router.drain import Drain
from infaas.router.half import SPARE, Half, Place
from infaas.router.live import Live
from infaas.router.running import RunningAt

if TYPE_CHECKING:
    from infaas.router.policy import Query, Ranked

ROUNDING_MS = 1e-6
"""By so much the two orders may differ, since they add up the same in another way."""


class Lineup:
    """Instances of one variant.

    Args:
        lives: all of them; from now on they tell this one when their load is another.
        now_ms: epoch ms; time does not go back.
    """

    def __init__(self, lives: Iterable[Live], now_ms: float = 0.0) -> None:
        self.lives = tuple(lives)
        self._origin_ms = now_ms
        """Times are counted from here: of an epoch in ms a float keeps no more than 0.2 us."""
        self._now = 0.0
        self._numbers = count()
        self._turns: list[tuple[float, int, Place]] = []
        """When the work of each comes to a stand, the first on top; outdated ones included."""
        self._active, self._others = Half(), Half()
        for live in self.lives:
            live.order, live.place = self, None
            self.put(live)

    @classmethod
    def of(cls, instances: Iterable[RunningAt]) -> Lineup:
        """Of instances whose work stands still."""
        return cls([Live("", instance, _standing(instance)) for instance in instances])

    def __len__(self) -> int:
        return len(self.lives)

    def at(self, now_ms: float) -> list[RunningAt]:
        """All of them, as they are at a moment."""
        self._advance(now_ms)
        return [self._look(live) for live in self.lives]

    def least(self, now_ms: float, salt: str) -> RunningAt:
        """The one with the least expected work, whether it is in time or not."""
        self._advance(now_ms)
        half = self._active if len(self._active) else self._others
        return self._look(next(half.ordered(self._now, salt)))

    def take(
        self, one: Ranked, query: Query, overhead_ms: float, budget_ms: float, salt: str
    ) -> tuple[RunningAt, float] | None:
        """Of those that are done within a budget the one with the least expected work, and in how many ms it is done."""
        self._advance(query.now_ms)
        for half in (self._active, self._others):
            if len(half):
                taken = self._take(half, one, query, overhead_ms, budget_ms, salt)
                if taken is not None:
                    return taken
        return None

    def soonest(self, one: Ranked, query: Query, overhead_ms: float) -> float:
        """In how many ms the query would be answered at the earliest."""
        self._advance(query.now_ms)
        halves = [half for half in (self._active, self._others) if len(half)]
        return min([self._soonest(half, one, query, overhead_ms) for half in halves])

    def put(self, live: Live) -> None:
        """One of them has another load than before."""
        if live.place is not None:
            live.place.leave()
        free, until = live.drain.ends(live.seen.query_ms, self._origin_ms)
        turn = min(free, until)
        half = self._active if live.seen.condition == "active" else self._others
        if turn <= self._now:
            half.put(live, False, free - turn)
            return
        heappush(self._turns, (turn, next(self._numbers), half.put(live, True, free)))
        if len(self._turns) > 2 * len(self.lives) + SPARE:
            self._turns = [entry for entry in self._turns if not entry[2].outdated]
            heapify(self._turns)

    def _take(
        self, half: Half, one: Ranked, query: Query, overhead_ms: float, budget_ms: float, salt: str
    ) -> tuple[RunningAt, float] | None:
        known = half.hopeless
        if known and self._soonest(half, one, query, overhead_ms) > budget_ms + ROUNDING_MS:
            return None
        half.hopeless = False
        for live in half.ordered(self._now, salt):
            seen = self._look(live)
            predicted = seen.done_in_ms(one, query, overhead_ms)
            if predicted <= budget_ms:
                return seen, predicted
            if not known:
                known = True
                half.hopeless = self._soonest(half, one, query, overhead_ms) > budget_ms + ROUNDING_MS
                if half.hopeless:
                    return None
        return None

    def _soonest(self, half: Half, one: Ranked, query: Query, overhead_ms: float) -> float:
        best = half.soonest(self._now, one.own_ms) + overhead_ms
        due_ms = query.now_ms + query.budget_ms
        if due_ms >= half.newest_ms:
            return best
        newest_ms = -math.inf
        for live in half:
            deadlines = live.drain.deadlines
            if deadlines:
                newest_ms = max(newest_ms, deadlines[-1])
                if deadlines[-1] > due_ms:
                    best = min(best, self._look(live).done_in_ms(one, query, overhead_ms))
        half.newest_ms = newest_ms
        return best

    def _look(self, live: Live) -> RunningAt:
        live.refresh(self._now + self._origin_ms)
        return live.seen

    def _advance(self, now_ms: float) -> None:
        """Now is this moment, unless it was a later one already."""
        self._now = max(self._now, now_ms - self._origin_ms)
        while self._turns and self._turns[0][0] <= self._now:
            place = heappop(self._turns)[2]
            if not place.outdated:
                self.put(place.live)


def _standing(instance: RunningAt) -> Drain:
    drain = Drain(instance.backlog, 0.0, 0.0)
    drain.deadlines = [*instance.deadlines]
    return drain
