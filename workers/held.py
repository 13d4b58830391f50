"""The queries an instance has taken and not begun.

Online ones the earliest deadline first, offline ones only while there are no online ones. What has to run alone, after a death,
comes before all others of its kind, in the order of its partition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from infaas.policy.fits import OVERHEAD_MS
from infaas.schemas.profile import Profile
from infaas.workers.batching import Waiting, choose, passed_over
from infaas.workers.work import Work

LOOK = 2
"""As many of the largest batch are looked at for the next one."""
SMOOTH = 0.1
BATCH_ROWS = 8
"""A batch costs about as much beside its model as so many of its rows do."""


class _Queue:
    """Queries of one kind."""

    def __init__(self) -> None:
        self.alone: deque[Work] = deque()
        self.together: list[tuple[float, int, Work]] = []

    def __len__(self) -> int:
        return len(self.alone) + len(self.together)

    def filter(self, wanted: Callable[[Work], bool]) -> list[Work]:
        """Takes some out."""
        out = [work for work in self.alone if wanted(work)] + [one[2] for one in self.together if wanted(one[2])]
        if out:
            self.alone = deque(work for work in self.alone if not wanted(work))
            self.together = [one for one in self.together if not wanted(one[2])]
            heapify(self.together)
        return out


class Held:
    """Queries that wait here.

    Args:
        profile: says how long a batch takes, and how large it may be.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._max_rows = profile.max_batch
        self._latency = [profile.latency_ms(rows) for rows in range(profile.max_batch + 1)]
        self._beside_ms = 0.0
        self._online, self._offline = _Queue(), _Queue()
        self._numbers = count()

    def add(self, work: Work) -> None:
        """Takes a query in."""
        queue = self._offline if work.offline else self._online
        if work.alone:
            queue.alone.append(work)
        else:
            heappush(queue.together, (work.travel.deadline_ms, next(self._numbers), work))

    def ran(self, rows: int, took_ms: float) -> None:
        """Learns what a batch takes beside the model, without which everything is a little late once there is more than can be done.

        Args:
            rows: of the batch.
            took_ms: from the moment of `take_batch` until its replies were sent.
        """
        beside_ms = max(0.0, took_ms - self._profile.latency_ms(rows)) / (rows + BATCH_ROWS)
        self._beside_ms += SMOOTH * (beside_ms - self._beside_ms)

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

    @property
    def first_alone(self) -> Work | None:
        """The first of those that have to run alone."""
        for queue in (self._online, self._offline):
            if queue.alone:
                return queue.alone[0]
        return None

    @property
    def next_is_alone(self) -> bool:
        """Whether one that has to run alone is next."""
        return bool((self._online or self._offline).alone)

    def take_alone(self, work: Work) -> None:
        """Takes one out that has to run alone."""
        (self._offline if work.offline else self._online).alone.remove(work)

    def take_partition(self, partition: int) -> list[Work]:
        """Takes out what is left to the next owner of a partition."""
        return self._online.filter(lambda work: work.part.partition == partition) + self._offline.filter(
            lambda work: work.part.partition == partition
        )

    def take_expired(self, now_ms: float) -> list[Work]:
        """Takes out what nobody would want any more by the time it was answered, of those that are next."""
        out: list[Work] = []
        alone = self.first_alone
        if alone is not None and self._expired(alone, now_ms):
            self.take_alone(alone)
            out.append(alone)
        queue = self._online.together
        while queue and self._expired(queue[0][2], now_ms):
            out.append(heappop(queue)[2])
        return out

    def take_batch(self, now_ms: float, decode: Callable[[Work], bool], expire: Callable[[Work], None]) -> list[Work]:
        """Takes out the next batch.

        Args:
            now_ms: epoch ms.
            decode: whether a query can be run; what can't is answered by it.
            expire: answers what nobody wants any more.
        """
        queue = (self._online or self._offline).together
        looked: list[tuple[float, int, Work]] = []
        while queue and len(looked) < LOOK * self._max_rows:
            one = heappop(queue)
            if self._expired(one[2], now_ms):
                expire(one[2])
            elif one[2].request is not None or decode(one[2]):
                looked.append(one)
        if not looked:
            return []
        works = [work for _, _, work in looked]
        if self._all_in_time(works, now_ms):
            return works
        chosen = self._choose(works, now_ms)
        for at, one in enumerate(looked):
            if at not in chosen:
                heappush(queue, one)
        return [work for at, work in enumerate(works) if at in chosen]

    def _all_in_time(self, works: list[Work], now_ms: float) -> bool:
        """Whether they can all run together, before the earliest deadline: then there is nothing to choose."""
        if len(works) == 1:
            return True
        rows, row = sum([work.rows for work in works]), works[0].row
        if rows > self._max_rows or now_ms + self._latency_ms(rows) > works[0].travel.deadline_ms:
            return False
        return all(work.row == row for work in works)

    def _choose(self, works: list[Work], now_ms: float) -> set[int]:
        waiting = [Waiting(work.rows, work.travel.deadline_ms, work.row) for work in works]
        skip = passed_over(waiting, now_ms, max_rows=self._max_rows, latency_ms=self._latency_ms)
        chosen = choose(waiting[skip:], now_ms, max_rows=self._max_rows, latency_ms=self._latency_ms)
        return {skip + at for at in chosen}

    def _expired(self, work: Work, now_ms: float) -> bool:
        """Whether nobody would want it any more when it was answered at the earliest.

        What batches have taken of late is not asked: a stall would be believed for as long as it expired all that came.
        """
        return now_ms + self._latency[1] > work.travel.drop_after_ms

    def _latency_ms(self, rows: int) -> float:
        """From now until the replies of a batch can be read."""
        model_ms = self._latency[rows] if rows <= self._max_rows else self._profile.latency_ms(rows)
        return model_ms + (rows + BATCH_ROWS) * self._beside_ms + OVERHEAD_MS / 2
