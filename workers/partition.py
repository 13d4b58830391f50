"""One partition an instance owns: how far it is, and how careful it has to be."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.bus.progress import Progress
from infaas.workers.poison import Start


@dataclass(slots=True)
class Partition:
    """State of one topic's partition in one instance."""

    topic: str
    partition: int
    progress: Progress
    start: Start
    begin: int
    """Where this owner began: `start.deaths` are those of the record there."""
    offline: bool = False
    releasing: bool = False

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition

    def alone(self, offset: int) -> bool:
        """Whether this record has to run by itself, with a mark."""
        return offset < self.start.alone_until
