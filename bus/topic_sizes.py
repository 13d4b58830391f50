"""How many partitions topics have, each asked about at most once in a while: callers name topics with every query."""

from __future__ import annotations

import time
from dataclasses import dataclass

from infaas.bus.outbox import Outbox
from infaas.schemas.errors import KafkaUnavailable

AWAY_S = 1.0
LIMIT = 10_000  # callers choose these names: bounded


@dataclass(frozen=True, slots=True)
class _Answer:
    partitions: int
    trouble: str | None
    until_s: float


class TopicSizes:
    """Asks, and remembers the answer; that nobody answered is remembered, too.

    Args:
        outbox: asked.
        known_s: how long a topic counts as having so many partitions.
        unknown_s: how long it counts as not there.
        timeout_s: how long a question may take.
    """

    def __init__(
        self, outbox: Outbox, *, known_s: float = 30.0, unknown_s: float = 2.0, timeout_s: float = 5.0
    ) -> None:
        self._outbox, self._known_s, self._unknown_s, self._timeout_s = outbox, known_s, unknown_s, timeout_s
        self._answers: dict[str, _Answer] = {}

    def of(self, topic: str) -> int:
        """Partitions of a topic; 0 = there is none of this name.

        Raises:
            KafkaUnavailable: no broker answers, or none did a moment ago.
        """
        answer = self._answers.get(topic)
        if answer is None or time.monotonic() >= answer.until_s:
            if len(self._answers) > LIMIT:
                self._answers.clear()
            answer = self._answers[topic] = self._ask(topic)
        if answer.trouble is not None:
            raise KafkaUnavailable(answer.trouble)
        return answer.partitions

    def _ask(self, topic: str) -> _Answer:
        try:
            partitions = self._outbox.learn(topic, self._timeout_s)
        except KafkaUnavailable as error:
            return _Answer(0, str(error), time.monotonic() + AWAY_S)
        return _Answer(partitions, None, time.monotonic() + (self._known_s if partitions else self._unknown_s))
