"""Instances by their expected work, and by when each would have answered one more query; those whose work falls, and those others.

Work that falls does so by a ms each ms: it stands by the moment at which it will be done, which time does not change. Work that
stands still stands by itself. So an instance moves only when its load changes, or when its work comes to a stand.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import chain, count
from zlib import crc32

from infaas.router.live import Live

Entry = tuple[float, float, str, int, Live]
"""Work of one more query (falling: the moment of its end), slowdown, worker, number, the instance."""
_Soon = tuple[float, int, "Place"]
SPARE = 64
"""Outdated entries that a heap may hold, besides as many as there are good ones."""


class Place:
    """Where an instance stands.

    Args:
        live: the instance.
        falls: whether its work falls.
        rest: what it has to do, ms; falling: the moment at which it will be free.
        entries: among which it stands, all of which fall, or none.
    """

    __slots__ = ("entries", "entry", "falls", "live", "rest")

    def __init__(self, live: Live, falls: bool, rest: float, entries: list[Entry]) -> None:
        self.live, self.falls, self.rest, self.entries = live, falls, rest, entries
        seen = live.seen
        self.entry: Entry = (rest + seen.query_ms, seen.slowdown, seen.worker, seen.instance, live)
        insort(entries, self.entry)

    def leave(self) -> None:
        """The instance stands elsewhere from now on."""
        del self.entries[bisect_left(self.entries, self.entry)]

    @property
    def outdated(self) -> bool:
        """Whether the instance stands elsewhere by now."""
        return self.live.place is not self


class Half:
    """The active ones of a variant's instances, or the others."""

    def __init__(self) -> None:
        self._falling: list[Entry] = []
        self._still: list[Entry] = []
        self._own_ms = math.nan
        """Time of a query by itself, for which the two below are made; NaN = they are not made: nobody has asked."""
        self._soon_falling: list[_Soon] = []
        self._soon_still: list[_Soon] = []
        self._numbers = count()
        self.hopeless = False
        """Whether nothing here was in time when it was last asked: then that is asked first."""
        self.newest_ms = -math.inf
        """No query that waits here, and that this router has sent, is due later; epoch ms."""

    def __len__(self) -> int:
        return len(self._falling) + len(self._still)

    def __iter__(self) -> Iterator[Live]:
        for entry in chain(self._falling, self._still):
            yield entry[-1]

    def put(self, live: Live, falls: bool, rest: float) -> Place:
        """An instance stands here from now on, as `Place` says."""
        place = live.place = Place(live, falls, rest, self._falling if falls else self._still)
        deadlines = live.drain.deadlines
        if deadlines and deadlines[-1] > self.newest_ms:
            self.newest_ms = deadlines[-1]
        if self._own_ms == self._own_ms:
            self._add_soon(place)
        return place

    def ordered(self, now: float, salt: str) -> Iterator[Live]:
        """All of them, those with the least expected work first, of equals the quicker; of equals in this, too, from one that the salt says."""
        falling, still = self._falling, self._still
        f = s = 0
        while True:
            falls = (falling[f][0] - now, falling[f][1]) if f < len(falling) else (math.inf, math.inf)
            stands = still[s][:2] if s < len(still) else (math.inf, math.inf)
            f_end = _end(falling, f) if falls <= stands else f
            s_end = _end(still, s) if stands <= falls else s
            equals = f_end - f + s_end - s
            if equals == 1:
                yield (falling[f] if f_end > f else still[s])[-1]
            elif not equals:
                return
            elif f_end == f or s_end == s:
                entries, begin = (still, s) if f_end == f else (falling, f)
                first = crc32(salt.encode()) % equals
                for at in chain(range(first, equals), range(first)):
                    yield entries[begin + at][-1]
            else:
                both = sorted([*falling[f:f_end], *still[s:s_end]], key=_name)
                first = crc32(salt.encode()) % equals
                for entry in both[first:] + both[:first]:
                    yield entry[-1]
            f, s = f_end, s_end

    def soonest(self, now: float, own_ms: float) -> float:
        """In how many ms, hops aside, the first of them is done with a query that takes so long by itself, after all that waits there."""
        if own_ms != self._own_ms:
            self._make_soon(own_ms)
        while self._soon_falling and self._soon_falling[0][2].outdated:
            heappop(self._soon_falling)
        while self._soon_still and self._soon_still[0][2].outdated:
            heappop(self._soon_still)
        falling = self._soon_falling[0][0] - now if self._soon_falling else math.inf
        return min(falling, self._soon_still[0][0]) if self._soon_still else falling

    def _make_soon(self, own_ms: float) -> None:
        self._own_ms, self._soon_falling, self._soon_still = own_ms, [], []
        for live in self:
            if live.place is not None:
                self._add_soon(live.place)

    def _add_soon(self, place: Place) -> None:
        soon = self._soon_falling if place.falls else self._soon_still
        heappush(soon, (place.rest + self._own_ms * place.live.seen.slowdown, next(self._numbers), place))
        if len(soon) > 2 * len(self) + SPARE:
            soon[:] = [entry for entry in soon if not entry[2].outdated]
            heapify(soon)


def _end(entries: list[Entry], begin: int) -> int:
    """Behind those that are equal in work and slowdown to the one at `begin`."""
    if begin >= len(entries):
        return begin
    work, slowdown = entries[begin][:2]
    if begin + 1 == len(entries) or entries[begin + 1][0] != work:
        return begin + 1
    return bisect_left(entries, (work, math.nextafter(slowdown, math.inf)), begin)


def _name(entry: Entry) -> tuple[str, int]:
    return entry[2], entry[3]
