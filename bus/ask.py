"""Questions to a broker that may be asked again: just after a topic was made or a broker came back it has no leader yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException

from infaas.bus.errors import translate

T = TypeVar("T")
PAUSE_S = 0.02


def ask(question: Callable[[], T], doing: str, timeout: float) -> T:
    """Asks until there is an answer, an error that will not go away, or no time left.

    Raises:
        InfaasError: the last error, in our words.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return question()
        except KafkaException as error:
            ours = translate(error, doing)
            if not ours.retryable or time.monotonic() >= deadline:
                raise ours from error
        time.sleep(PAUSE_S)
