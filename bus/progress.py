"""How far one partition is: what was taken, what is done, what is committed. One for intake and instances alike.

1. A partition starts at `start(committed, low)`: where the owner before had committed, or at the low watermark if that is further.
2. `add` each offset as it is taken, `done` it when it has its confirmed reply, re-dispatch or dead letter, in any order.
3. `moved` is the position to commit, if it has moved; `committing` says that a commit is under way.
4. `committed` says that it is confirmed; `refused` that it is not: then it is to be committed again.

Invariant: `position` never passes an offset that was added and is not done. Compacted or deleted offsets leave gaps, which are
passed over because they were never added. A commit counts when the broker has confirmed it, not when it is asked for.
"""

from __future__ import annotations

from collections import deque


def start(committed: int | None, low: int) -> int:
    """Where a new owner starts; None = nobody ever committed."""
    return low if committed is None else max(low, committed)


class Progress:
    """Offsets of one partition, added in order, done in any order.

    Args:
        begin: where it starts, which is taken to be committed.
    """

    __slots__ = ("_asked", "_committed", "_done", "_next", "_open")

    def __init__(self, begin: int) -> None:
        self._next = begin
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._committed = self._asked = begin

    def add(self, offset: int) -> None:
        """An offset was taken; they come in ascending order."""
        assert offset >= self._next, "offsets come in ascending order"
        self._open.append(offset)
        self._next = offset + 1

    def done(self, offset: int) -> None:
        """An offset has its confirmed reply, re-dispatch or dead letter; saying it twice is harmless."""
        if offset < self.position:
            return
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

    @property
    def moved(self) -> int | None:
        """The position, if it is past all that was asked to be committed."""
        position = self.position
        return position if position > self._asked else None

    @property
    def uncommitted(self) -> int | None:
        """The position, if it is past all that is known to be committed: what a last, synchronous commit has to say."""
        position = self.position
        return position if position > self._committed else None

    def committing(self, position: int) -> None:
        """A commit of this position is under way."""
        self._asked = max(self._asked, position)

    def committed(self, position: int) -> None:
        """It is confirmed."""
        self._committed = max(self._committed, position)
        self._asked = max(self._asked, position)

    def refused(self) -> None:
        """A commit was not confirmed: whatever is past the last confirmed one is to be committed again."""
        self._asked = self._committed
