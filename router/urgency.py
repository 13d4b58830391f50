"""Instances by when each would have answered a query that has about so long, the first one on top: whether any is in time is seen there.

An instance runs the earliest deadline first, so what is ahead of a query depends on when it is due. What was worked out for one stands
for others, as the least it can be: as time passes an answer comes nearer by a ms each ms and not more; a query that is due later has as much ahead
of it or more; and so has one that is due earlier, as long as none that waits there is due between the two. What a report or a send
changes is worked out again when it is next asked for, and so is what looks to be in time and is not.

Queries that have about equally long form a kind, each with such an order: who has a second and who has a minute are late in different places.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple

from infaas.router.live import Live

ROUNDING_MS = 1e-6
"""By so much two ways of adding up the same may differ."""
SPARE = 64
"""Outdated entries that an order may hold, besides as many as there are good ones."""
_Entry = tuple[float, int, Live]
"""Time of an answer, ms (falling: its moment), number, the instance."""


class Question(NamedTuple):
    """When a query would have been answered, hops aside."""

    now: float
    """Ms, as the instances count them."""
    due_ms: float
    """When it is due, epoch ms."""
    done: Callable[[Live], float]
    """In how many ms by an instance."""


class Urgency:
    """Instances in this order, for one kind of queries.

    Args:
        lives: all of them.
    """

    def __init__(self, lives: Iterable[Live]) -> None:
        self._changed = dict.fromkeys(lives)
        self._good: dict[Live, int] = {}
        """Number of the entry that counts of each."""
        self._falling: list[_Entry] = []
        self._still: list[_Entry] = []
        self._since: list[_Entry] = []
        """For what is due from when on an entry was worked out, epoch ms, ascending."""
        self._numbers = count()
        self.late = False
        """Whether nobody was in time when it was last asked: then that is asked first."""

    def changed(self, live: Live) -> None:
        """The load of an instance is another."""
        self._good.pop(live, None)
        self._changed[live] = None

    def soonest(self, asked: Question, limit: float) -> float:
        """In how many ms the first of them would have answered; if that is above the limit, something above it that is not more."""
        for live in self._changed:
            self.learn(live, asked, asked.done(live))
        self._changed.clear()
        best = min(map(asked.done, self._newer(asked.due_ms)), default=math.inf)
        best = self._lowest(self._falling, asked.now, asked, best, limit)
        return self._lowest(self._still, 0.0, asked, best, limit)

    def any_within(self, asked: Question, limit: float) -> bool:
        """Whether one of them would have answered by then."""
        self.late = self.soonest(asked, limit) > limit
        return not self.late

    def within(self, asked: Question, limit: float) -> list[Live]:
        """Those that may have answered by then, and maybe others; `soonest` was asked before."""
        out = dict.fromkeys(self._newer(asked.due_ms))
        for entries, highest in ((self._falling, asked.now + limit), (self._still, limit)):
            places = [0]
            while places:
                at = places.pop()
                if at < len(entries) and entries[at][0] <= highest:
                    if self._counts(entries[at]):
                        out[entries[at][2]] = None
                    places += (2 * at + 1, 2 * at + 2)
        return list(out)

    def learn(self, live: Live, asked: Question, value: float) -> None:
        """What was worked out for an instance."""
        number = self._good[live] = next(self._numbers)
        entries = self._falling if live.falls else self._still
        heappush(entries, (asked.now + value if live.falls else value, number, live))
        if len(entries) > 2 * len(self._good) + SPARE:
            entries[:] = [entry for entry in entries if self._counts(entry)]
            heapify(entries)
        deadlines = live.drain.deadlines
        earlier = bisect_right(deadlines, asked.due_ms)
        if earlier:
            insort(self._since, (deadlines[earlier - 1], number, live))
            if len(self._since) > 2 * len(self._good) + SPARE:
                self._since = [since for since in self._since if self._counts(since)]

    def _lowest(self, entries: list[_Entry], at: float, asked: Question, best: float, limit: float) -> float:
        """The lowest of these and of what was found before."""
        while entries:
            entry = entries[0]
            bound, live = entry[0] - at, entry[2]
            if not self._counts(entry):
                heappop(entries)
            elif bound > min(best, limit):
                return min(best, bound)
            else:
                value = asked.done(live)
                if value <= bound + ROUNDING_MS:
                    return min(best, value)
                heappop(entries)
                self.learn(live, asked, value)
                best = min(best, value)
        return best

    def _newer(self, due_ms: float) -> Iterator[Live]:
        """Those whose entries do not stand for what is due so early."""
        for since in reversed(self._since):
            if since[0] <= due_ms:
                return
            if self._counts(since):
                yield since[2]

    def _counts(self, entry: _Entry) -> bool:
        return self._good.get(entry[2]) == entry[1]
