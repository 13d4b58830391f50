"""The contiguous frontier: the one number that may be committed.

Invariant: `position` never passes an offset that was added and is not done. Compacted or deleted offsets leave gaps, which
are passed over because they were never added.
"""

from __future__ import annotations

from collections import deque


class Frontier:
    """Offsets of one partition, added in order, done in any order."""

    __slots__ = ("_done", "_next", "_open")

    def __init__(self, start: int) -> None:
        self._next = start
        self._open: deque[int] = deque()
        self._done: set[int] = set()

    def add(self, offset: int) -> None:
        """An offset was taken; they come in ascending order."""
        assert offset >= self._next, "offsets come in ascending order"
        self._open.append(offset)
        self._next = offset + 1

    def done(self, offset: int) -> None:
        """An offset has its confirmed reply, re-dispatch or dead letter."""
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open.popleft())

    @property
    def position(self) -> int:
        """The offset to commit: everything below it is done."""
        return self._open[0] if self._open else self._next

    @property
    def taken(self) -> int:
        """The offset after the furthest one added."""
        return self._next

    @property
    def pending(self) -> int:
        """How many are added and not below `position`."""
        return len(self._open)
