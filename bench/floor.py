"""`python -m infaas.bench.floor STAGE ...`: plain pipelines on the same Kafka, to compare the system with.

`forward IN OUT` and `serve IN MODEL` are the least a pipeline in Python can be that keeps the system's promises: it reads and adds
headers, has a delivery report of each record, a contiguous frontier and explicit commits; it only chooses nothing, owns nothing and
checks nothing. `bare IN MODEL` keeps none: consume, run, produce, in one loop. All have the system's client settings.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service
from infaas.schemas.headers import HeaderList

MOST = 500
"""Records taken at once."""
BATCH = 32
"""Rows run together."""
POLL_S = 0.01
COMMIT_EVERY_S = 0.1


class Frontier:
    """How far one partition is done without a gap."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self.position = 0

    def add(self, offset: int) -> None:
        """It was taken."""
        self._open.append(offset)

    def done(self, offset: int) -> None:
        """It was confirmed."""
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open[0])
            self.position = self._open.popleft() + 1


class Stage:
    """Consumes one partition, and knows what of it is done."""

    def __init__(self, settings: BusSettings, topic: str, name: str) -> None:
        self.topic, self.frontier = topic, Frontier()
        self.producer = Producer(settings.producer(name))
        self._consumer = Consumer(settings.consumer(name, f"{topic}-{name}", reset="earliest", wait_ms=10))
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._committed, self._next_s = 0, 0.0

    def take(self, most: int) -> list[Any]:
        """What is there, waiting a little for the first."""
        first = self._consumer.poll(POLL_S)
        if first is None:
            return []
        return [m for m in (first, *self._consumer.consume(most - 1, 0)) if m.error() is None]

    def send(self, topic: str, partition: int, value: bytes, headers: HeaderList, offset: int) -> None:
        """Produces; the record at `offset` is done when that is confirmed."""
        frontier = self.frontier

        def report(error: KafkaError | None, _: Message) -> None:
            if error is None:
                frontier.done(offset)

        named: list[tuple[str, bytes | str | None]] = [*headers]
        self.producer.produce(topic, value=value, partition=partition, headers=named, on_delivery=report)

    def rest(self) -> None:
        """Serves reports, and commits now and then."""
        self.producer.poll(0)
        now = time.monotonic()
        if now >= self._next_s and self.frontier.position > self._committed:
            self._next_s, self._committed = now + COMMIT_EVERY_S, self.frontier.position
            self._consumer.commit(offsets=[TopicPartition(self.topic, 0, self._committed)], asynchronous=True)

    def close(self) -> None:
        """Flushes and leaves."""
        self.producer.flush(5)
        self._consumer.close()


def forward(stop: Stop, settings: BusSettings, source: str, target: str) -> None:
    """Reads each query's headers, adds the identity and the deadline, and passes it on."""
    stage = Stage(settings, source, "forward")
    _ready()
    while not stop:
        for message in stage.take(MOST):
            offset = message.offset() or 0
            stage.frontier.add(offset)
            headers = message.headers() or []
            asked = dict(headers)
            deadline = message.timestamp()[1] + float(asked["infaas-latency-ms"])
            more = [("query-id", f"{source}-0-{offset}".encode()), ("deadline", repr(deadline).encode())]
            stage.send(target, 0, message.value() or b"", [*headers, *more], offset)
        stage.rest()
    stage.close()


def serve(stop: Stop, settings: BusSettings, source: str, model: str) -> None:
    """Runs what is queued together, and answers each with the headers that say what became of it."""
    stage, run = Stage(settings, source, "serve"), _model(model)
    _ready()
    while not stop:
        taken = stage.take(BATCH)
        for message in taken:
            stage.frontier.add(message.offset() or 0)
        began = time.perf_counter()
        for message, scores in zip(taken, _answers(taken, run), strict=True):
            asked = dict(message.headers() or [])
            late = time.time() * 1000.0 > float(asked["deadline"])
            headers = [
                ("correlation-id", asked["correlation-id"]),
                ("query-id", asked["query-id"]),
                ("outcome", b"ok"),
                ("inference-ms", f"{(time.perf_counter() - began) * 1000.0:.3f}".encode()),
                ("objective-met", b"false" if late else b"true"),
            ]
            topic, partition = asked["reply-to"].decode(), int(asked["reply-partition"])
            stage.send(topic, partition, _reply(scores), headers, message.offset() or 0)
        stage.rest()
    stage.close()


def bare(stop: Stop, settings: BusSettings, source: str, model: str) -> None:
    """Consume, run, produce; nothing is promised."""
    stage, run = Stage(settings, source, "bare"), _model(model)
    _ready()
    while not stop:
        taken = stage.take(BATCH)
        for message, scores in zip(taken, _answers(taken, run), strict=True):
            asked = dict(message.headers() or [])
            headers = [("correlation-id", asked["correlation-id"])]
            stage.producer.produce(
                asked["reply-to"].decode(),
                value=_reply(scores),
                partition=int(asked["reply-partition"]),
                headers=headers,
            )
        stage.producer.poll(0)
    stage.close()


def _model(path: str) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["scores"], {"x": x})[0]


def _answers(taken: list[Any], run: Callable[[Any], Any]) -> Any:
    if not taken:
        return ()
    rows = [orjson.loads(message.value() or b"")["inputs"][0] for message in taken]
    return run(np.concatenate([np.array(row["data"], dtype=np.float32).reshape(row["shape"]) for row in rows]))


def _reply(scores: Any) -> bytes:
    output = {"name": "scores", "shape": [1, len(scores)], "datatype": "FP32", "data": scores.tolist()}
    return orjson.dumps({"model_name": "floor", "outputs": [output]})


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


STAGES = {"forward": forward, "serve": serve, "bare": bare}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    sys.exit(run_service(lambda stop: STAGES[name](stop, BusSettings(), *arguments)))
