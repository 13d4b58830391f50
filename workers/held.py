"""The queries an instance has taken and not begun: online ones first, offline ones only while there are no online ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from infaas.schemas.profile import Profile
from infaas.workers.batching import Waiting, choose
from infaas.workers.work import Work


class Held:
    """Queries in the order they came.

    Args:
        profile: says how long a batch takes, and how large it may be.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._online: deque[Work] = deque()
        self._offline: deque[Work] = deque()

    def add(self, work: Work) -> None:
        """Takes a query in."""
        (self._offline if work.offline else self._online).append(work)

    def __bool__(self) -> bool:
        return bool(self._online or self._offline)

    @property
    def online(self) -> int:
        """How many online queries wait."""
        return len(self._online)

    @property
    def offline(self) -> int:
        """How many offline queries wait."""
        return len(self._offline)

    def head(self) -> Work | None:
        """The query that is next."""
        return next(iter(self._next), None)

    def first_alone(self) -> Work | None:
        """The first of those beside the next that has to run alone."""
        return next((work for work in self._next if work.alone), None)

    def together(self) -> Iterator[Work]:
        """Those that may be in the next batch: what has to run alone ends it, so that order within a partition is kept."""
        for work in self._next:
            if work.alone:
                return
            yield work

    def take_expired(self, now_ms: float) -> list[Work]:
        """Takes out what nobody waits for any more."""
        return self._take(lambda work: work.travel.drop_after_ms < now_ms)

    def take_partition(self, partition: int) -> list[Work]:
        """Takes out what is left to the next owner of a partition."""
        return self._take(lambda work: work.part.partition == partition)

    def remove(self, work: Work) -> None:
        """Takes one out."""
        (self._offline if work.offline else self._online).remove(work)

    def take_batch(self, now_ms: float) -> list[Work]:
        """Takes out the next batch of those that are decoded."""
        queue = self._next
        ready = list(self.together())
        waiting = [Waiting(work.rows, work.travel.deadline_ms, _shape(work)) for work in ready]
        profile = self._profile
        chosen = set(choose(waiting, now_ms, max_rows=profile.max_batch, latency_ms=profile.latency_ms))
        kept = [work for at, work in enumerate(queue) if at not in chosen]
        queue.clear()
        queue.extend(kept)
        return [work for at, work in enumerate(ready) if at in chosen]

    @property
    def _next(self) -> deque[Work]:
        return self._online or self._offline

    def _take(self, wanted: Callable[[Work], bool]) -> list[Work]:
        out: list[Work] = []
        for queue in (self._online, self._offline):
            gone = [work for work in queue if wanted(work)]
            if gone:
                out += gone
                kept = [work for work in queue if not wanted(work)]
                queue.clear()
                queue.extend(kept)
        return out


def _shape(work: Work) -> tuple[tuple[str, tuple[int, ...]], ...]:
    inputs = work.request.inputs if work.request else {}
    return tuple((name, array.shape[1:]) for name, array in sorted(inputs.items()))
