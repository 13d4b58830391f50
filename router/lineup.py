"""The instances of one variant, the one with the least expected work first: kept in order, never sorted for a query.

A report or a send moves one instance; time moves those whose work has come to a stand, each once. Where the first is not in time it is
seen from a second order (`urgency`) which others may be, or that none is.

Active instances go before overloaded and interfered ones. Of equals (as much work, as quick) a hash of the query decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

from infaas.router.drain import Drain
from infaas.router.half import Half
from infaas.router.live import Live
from infaas.router.running import RunningAt
from infaas.router.urgency import ROUNDING_MS, SPARE, Question

if TYPE_CHECKING:
    from infaas.router.policy import Query, Ranked

NEVER = 2000
"""The kind of what is never due: no float has such an exponent."""

_NUMBERS = count()
"""Of what is expected, of all lineups: an instance moves from one to the next, and what the last expected of it counts no more."""


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
        self._turns: list[tuple[float, int, float, Live]] = []
        """When the work of each comes to a stand, the first on top, and when it would be done; outdated ones included."""
        self._active, self._others = Half(), Half()
        self._low, self._low_due_ms = -math.inf, math.inf
        """A moment before which nobody answers what is due then or later, hops aside: as long as no load is another."""
        for live in self.lives:
            live.order, live.entry = self, None
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
        return self._look(self._halves()[0].first(self._now, salt))

    def take(
        self, one: Ranked, query: Query, overhead_ms: float, budget_ms: float, salt: str
    ) -> tuple[RunningAt, float] | None:
        """Of those that are done within a budget the one with the least expected work, and in how many ms it is done.

        Args:
            one: the variant, which is always the same.
            query: what is asked.
            overhead_ms: of the hops.
            budget_ms: until then it has to be done.
            salt: decides between equals.
        """
        if self._known_low(query) > budget_ms - overhead_ms + ROUNDING_MS:
            return None
        self._advance(query.now_ms)
        for half in self._halves():
            taken = self._take(half, one, query, overhead_ms, budget_ms, salt)
            if taken is not None:
                return taken
        self.soonest(one, query, overhead_ms, budget_ms)  # remembered
        return None

    def soonest(self, one: Ranked, query: Query, overhead_ms: float, limit: float = math.inf) -> float:
        """In how many ms the query would be answered at the earliest; if that is above the limit, something above it that is not more."""
        limit += ROUNDING_MS - overhead_ms
        found = self._known_low(query)
        if found <= limit:
            self._advance(query.now_ms)
            asked, found = self._question(one, query), math.inf
            for half in self._halves():
                found = min(found, half.urgency(_kind(query)).soonest(asked, min(limit, found)))
            self._low, self._low_due_ms = self._now + found, asked.due_ms
        return found + overhead_ms

    def put(self, live: Live) -> None:
        """One of them has another load than before."""
        self._low = -math.inf
        free, until = live.drain.ends(live.seen.query_ms, self._origin_ms)
        turn = min(free, until)
        half = self._active if live.seen.condition == "active" else self._others
        live.turn = next(_NUMBERS)
        if turn <= self._now:
            half.put(live, False, free - turn)
            return
        half.put(live, True, free)
        heappush(self._turns, (turn, live.turn, free, live))
        if len(self._turns) > 2 * len(self.lives) + SPARE:
            self._turns = [entry for entry in self._turns if entry[3].turn == entry[1]]
            heapify(self._turns)

    def _halves(self) -> list[Half]:
        return [half for half in (self._active, self._others) if half.still or half.falling]

    def _take(
        self, half: Half, one: Ranked, query: Query, overhead_ms: float, budget_ms: float, salt: str
    ) -> tuple[RunningAt, float] | None:
        limit = budget_ms - overhead_ms + ROUNDING_MS
        known = half.kinds.get(_kind(query)) if half.kinds else None
        if known is not None and known.late and not known.any_within(self._question(one, query), limit):
            return None
        seen = self._look(half.first(self._now, salt))
        predicted = seen.done_in_ms(one, query, overhead_ms)
        if predicted <= budget_ms:
            return seen, predicted
        asked, urgency = self._question(one, query), half.urgency(_kind(query))
        for live in self._by_work(urgency.within(asked, limit) if urgency.any_within(asked, limit) else []):
            done_ms = asked.done(live)
            if done_ms + overhead_ms > budget_ms:
                urgency.learn(live, asked, done_ms)
                continue
            equals = half.equals(live, self._now)
            first = crc32(salt.encode()) % len(equals)
            for equal in equals[first:] + equals[:first]:
                predicted = asked.done(equal) + overhead_ms
                if predicted <= budget_ms:
                    return equal.seen, predicted
        return None

    def _by_work(self, lives: list[Live]) -> Iterator[Live]:
        """Those with the least expected work first, of equals the quicker."""
        order = [(self._work(live), live.seen.slowdown, at) for at, live in enumerate(lives)]
        heapify(order)
        while order:
            yield lives[heappop(order)[2]]

    def _question(self, one: Ranked, query: Query) -> Question:
        due_ms = query.now_ms + query.budget_ms
        return Question(self._now, due_ms, lambda live: self._look(live).done_in_ms(one, query, 0.0))

    def _known_low(self, query: Query) -> float:
        """In how many ms the query would be answered at the earliest, as far as that is known; none is earlier."""
        if query.now_ms + query.budget_ms < self._low_due_ms:
            return -math.inf
        return self._low - max(self._now, query.now_ms - self._origin_ms)

    def _work(self, live: Live) -> float:
        assert live.entry is not None
        return live.entry[0] - self._now if live.falls else live.entry[0]

    def _look(self, live: Live) -> RunningAt:
        live.refresh(self._now + self._origin_ms)
        return live.seen

    def _advance(self, now_ms: float) -> None:
        """Now is this moment, unless it was a later one already."""
        self._now = max(self._now, now_ms - self._origin_ms)
        while self._turns and self._turns[0][0] <= self._now:
            turn, number, free, live = heappop(self._turns)
            if live.turn == number:
                half = self._active if live.seen.condition == "active" else self._others
                half.put(live, False, free - turn)


def _kind(query: Query) -> int:
    """Of queries that have about equally long, to within a factor of two."""
    left = query.budget_ms
    return math.frexp(left)[1] if left < math.inf else NEVER


def _standing(instance: RunningAt) -> Drain:
    drain = Drain(instance.backlog, 0.0, 0.0)
    drain.deadlines = [*instance.deadlines]
    return drain
