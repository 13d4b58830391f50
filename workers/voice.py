"""What an instance says to its supervisor: news when there is some, else that it is alive.

A supervisor takes a child for hung that is silent for seconds outside a batch, so whatever may take longer than a step (a batch,
a fetch) is announced with the time after which it counts as overdue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from infaas.host.deadlines import HEARTBEAT_S
from infaas.host.messages import Alive, BatchBegan, BatchEnded, Message

QUIET_S = 0.8 * HEARTBEAT_S
_ENDED = BatchEnded()


class Voice:
    """Speaks for one instance.

    Args:
        tell: writes a message to the supervisor.
        now: the monotonic clock, s.
    """

    def __init__(self, tell: Callable[[Message], None], *, now: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._now = tell, now
        self._spoke = now()
        self._announced: list[BatchBegan] = []

    def say(self, message: Message) -> None:
        """Says something."""
        self._spoke = self._now()
        self._tell(message)

    def alive(self) -> None:
        """Says that we are there, if nothing was said for a while."""
        if self._now() - self._spoke >= QUIET_S:
            self.say(Alive())

    @contextmanager
    def batch(self, limit_ms: float, furthest: Mapping[int, int], *, alone: bool = False) -> Iterator[None]:
        """Announces something that may take long, and its end whatever comes of it; inside another, that one goes on after it.

        Args:
            limit_ms: after which it is overdue.
            furthest: partition of the work topic → offset after the furthest record taken.
            alone: it is one record after a death, under a mark.
        """
        self._announced.append(BatchBegan(limit_ms=limit_ms, alone=alone, furthest=furthest))
        self.say(self._announced[-1])
        try:
            yield
        finally:
            self._announced.pop()
            self.say(self._announced[-1] if self._announced else _ENDED)
