"""`python -m infaas.bench.bare_loop`: consume and produce, with the system's client settings; nothing is promised or chosen.

Of the target's partitions each batch uses one, as a router does for a while.
"""

from __future__ import annotations

import os
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service

MOST = 500
POLL_S = 0.005


def bare_loop(stop: Stop, settings: BusSettings, source: str, sources: int, target: str, targets: int) -> None:
    """Passes everything on, headers and all."""
    producer = Producer(settings.producer("bare"))
    consumer = Consumer(settings.consumer("bare", "bare", reset="earliest", wait_ms=10))
    consumer.assign([TopicPartition(source, partition, 0) for partition in range(sources)])
    turn = 0
    while not stop:
        first = consumer.poll(POLL_S)
        if first is None:
            producer.poll(0)
            continue
        turn += 1
        for message in (first, *consumer.consume(MOST - 1, 0)):
            if message.error() is not None:
                continue
            while True:
                try:
                    producer.produce(target, value=message.value(), headers=message.headers(), partition=turn % targets)
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.poll(0)
    consumer.close()


def main(stop: Stop) -> None:
    """As the environment says."""
    source, sources, target, targets = os.environ["INFAAS_BENCH_BARE"].split()
    bare_loop(stop, BusSettings(), source, int(sources), target, int(targets))


if __name__ == "__main__":
    sys.exit(run_service(main))
