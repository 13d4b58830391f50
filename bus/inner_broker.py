"""A broker within this process, for measuring what a client costs: it keeps nothing, and its own time is not the client's.

The Kafka client brings it (librdkafka's mock cluster). What is measured against it touches no cell: no topic, no group, no load.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer

ANSWERS_S = 5.0
THREAD = "rdk:mock"
NS = 1e9


@contextmanager
def inner_broker(topics: Iterable[str]) -> Iterator[str]:
    """Runs it, with these topics; gives its address."""
    # It says in a line of log that it is there, which is nobody's warning.
    keeper = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(keeper.list_topics(timeout=ANSWERS_S).brokers.values()))
    for topic in topics:
        keeper.list_topics(topic, timeout=ANSWERS_S)  # asked for, it is there
    yield f"{broker.host}:{broker.port}"
    keeper.flush(0)


def clients_cpu_s() -> float:
    """Processor time of this process without its inner broker's, s; on other systems than Linux with it."""
    return time.process_time() - _broker_cpu_s()


def _broker_cpu_s() -> float:
    used = 0.0
    for task in Path("/proc/self/task").glob("*"):
        try:
            if (task / "comm").read_text().strip() == THREAD:
                used += int((task / "schedstat").read_text().split()[0]) / NS
        except OSError:  # a thread that has ended meanwhile
            continue
    return used
