"""Which views of the store stand behind what is not confirmed yet: unregistering waits until no router acts on an older one."""

from __future__ import annotations

from collections import Counter


class OpenViews:
    """Counts sends by the offset of the view on which they were chosen."""

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()

    def open(self, offset: int) -> int:
        """Something is sent that was chosen on the view at this offset, which is returned."""
        self._open[offset] += 1
        return offset

    def close(self, offset: int) -> None:
        """It is confirmed, or has failed."""
        self._open[offset] -= 1
        if self._open[offset] <= 0:
            del self._open[offset]

    def oldest(self, current: int) -> int:
        """The oldest view that something unconfirmed was chosen on, or the current one."""
        return min([current, *self._open])
