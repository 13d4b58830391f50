"""Instances by their expected work; those whose work falls, and those others.

Work that falls does so by a ms each ms: it stands by the moment at which it will be done, which time does not change. Work that
stands still stands by itself. So an instance moves only when its load changes, or when its work comes to a stand.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain
from zlib import crc32

from infaas.router.live import Entry, Live
from infaas.router.urgency import ROUNDING_MS, Urgency

KINDS = 8
"""Kinds of urgency that an order is kept for."""


class Half:
    """The active ones of a variant's instances, or the others."""

    def __init__(self) -> None:
        self.falling: list[Entry] = []
        self.still: list[Entry] = []
        self.kinds: dict[int, Urgency] = {}
        """Of queries that have been asked for: their orders."""

    def __iter__(self) -> Iterator[Live]:
        for entry in chain(self.falling, self.still):
            yield entry[-1]

    def put(self, live: Live, falls: bool, rest: float) -> None:
        """An instance stands here from now on.

        Args:
            live: the instance.
            falls: whether its work falls.
            rest: what it has to do, ms; falling: the moment at which it will be free.
        """
        if live.entry is not None:
            del live.entries[bisect_left(live.entries, live.entry)]
        seen = live.seen
        entry = live.entry = (rest + seen.query_ms, seen.slowdown, seen.worker, seen.instance, live)
        live.falls = falls
        live.entries = entries = self.falling if falls else self.still
        insort(entries, entry)
        for kind in self.kinds.values():
            kind.changed(live)

    def first(self, now: float, salt: str) -> Live:
        """The one with the least expected work, of equals the quicker; of equals in this, too, the one that the salt says."""
        falling, still = self.falling, self.still
        falls = (falling[0][0] - now, falling[0][1]) if falling else (math.inf, math.inf)
        stands = still[0][:2] if still else (math.inf, math.inf)
        if falls == stands:
            equals = self.equals(still[0][-1], now)
            return equals[crc32(salt.encode()) % len(equals)]
        entries = falling if falls < stands else still
        end = _end(entries, 0)
        return entries[crc32(salt.encode()) % end if end > 1 else 0][-1]

    def equals(self, live: Live, now: float) -> list[Live]:
        """All that have as much work as this one and are as quick, itself included, in the order of their names."""
        assert live.entry is not None
        work, slowdown = live.entry[:2]
        begin = bisect_left(live.entries, (work, slowdown))
        equals = live.entries[begin : _end(live.entries, begin)]
        if live.falls:
            other, at, target = self.still, 0.0, work - now
        else:
            other, at, target = self.falling, now, work
        for entry in other[bisect_left(other, (target + at - ROUNDING_MS,)) :]:
            if entry[0] - at > target:
                break
            if entry[0] - at == target and entry[1] == slowdown:
                equals.append(entry)
        return [entry[-1] for entry in sorted(equals, key=_name)]

    def urgency(self, kind: int) -> Urgency:
        """The order for queries of one kind, made when it is first asked for."""
        found = self.kinds.get(kind)
        if found is None:
            if len(self.kinds) >= KINDS:
                del self.kinds[next(iter(self.kinds))]
            found = self.kinds[kind] = Urgency(self)
        return found


def _end(entries: list[Entry], begin: int) -> int:
    """Behind those that are equal in work and slowdown to the one at `begin`."""
    work, slowdown = entries[begin][:2]
    if begin + 1 == len(entries) or entries[begin + 1][0] != work:
        return begin + 1
    return bisect_left(entries, (work, math.nextafter(slowdown, math.inf)), begin)


def _name(entry: Entry) -> tuple[str, int]:
    return entry[2], entry[3]
