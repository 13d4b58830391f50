"""One partition an instance owns: how far it is, and how careful it has to be."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.bus.progress import Progress
from infaas.workers.poison import Start


@dataclass(slots=True)
class Partition:
    """State of one topic's partition in one instance, for as long as it is owned from one start on.

    A record belongs to the object it was taken under: what is confirmed after the partition was begun again, at other offsets,
    changes nothing there.
    """

    topic: str
    partition: int
    progress: Progress
    start: Start
    begin: int
    """Where this owner began: `start.deaths` are those of the record there."""
    offline: bool = False
    marked: int | None = None
    """Offset of the mark that stands in the commit, until a commit passes it; None = there is none."""
    in_hand: int = 0
    """Records taken, and neither done nor left to the next owner."""
    release_by: float | None = None
    """Monotonic s; None = it is not being released."""

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition

    def alone(self, offset: int) -> bool:
        """Whether this record has to run by itself, with a mark."""
        return offset < self.start.alone_until

    def add(self, offset: int) -> None:
        """A record was taken."""
        self.progress.add(offset)
        self.in_hand += 1

    def done(self, offset: int) -> None:
        """It has its confirmed reply or dead letter; said once a record."""
        self.progress.done(offset)
        self.in_hand -= 1

    def committed(self, offset: int) -> None:
        """A commit was confirmed."""
        self.progress.committed(offset)
        if self.marked is not None and offset > self.marked:
            self.marked = None

    def leave(self) -> None:
        """A record that was not begun is left to the next owner."""
        self.in_hand -= 1
