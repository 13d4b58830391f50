"""What an instance has done since its process started, and how it tells its supervisor."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from infaas.host import messages
from infaas.host.messages import LastBatch, PartitionAt, Stats


@dataclass
class Counters:
    """Cumulative, but for the last batch."""

    arrived: int = 0
    answered: int = 0
    expired: int = 0
    failed: int = 0
    batches: int = 0
    busy_ms: float = 0.0
    batch_size_sum: int = 0
    last: LastBatch | None = None
    queue_ms: deque[float] = field(default_factory=lambda: deque(maxlen=256))

    def ran(self, *, queries: int, took_ms: float, expected_ms: float) -> None:
        """A batch has run."""
        self.batches += 1
        self.busy_ms += took_ms
        self.batch_size_sum += queries
        self.last = LastBatch(took_ms=took_ms, queries=queries, expected_ms=expected_ms)

    def stats(self, positions: Iterable[PartitionAt], *, offline: int) -> Stats:
        """The message for the supervisor."""
        waited = sorted(self.queue_ms)
        return Stats(
            counters=messages.Counters(
                arrived=self.arrived,
                answered=self.answered,
                expired=self.expired,
                failed=self.failed,
                batches=self.batches,
                busy_ms=self.busy_ms,
                batch_size_sum=self.batch_size_sum,
                queue_ms_p99=waited[int(0.99 * (len(waited) - 1))] if waited else 0.0,
            ),
            last=self.last,
            positions=tuple(positions),
            offline=offline,
        )
