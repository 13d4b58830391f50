"""The parts of an instance that need no Kafka: its voice, and its batches on an engine that may do anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infaas.host.messages import Alive, BatchBegan, BatchEnded, LastBatch, Ready
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.errors import EngineLost, InferenceFailed
from infaas.schemas.oip import InferRequest
from infaas.schemas.reports import Counters, Position
from infaas.workers.batch import Runner
from infaas.workers.tally import KEPT, Tally
from infaas.workers.voice import Voice

CONTRACT = Contract(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
    validation_digest="sha256:0",
)


class Scripted:
    """An engine that gives what it is told."""

    def __init__(self, gives):
        self.gives = gives

    def load(self, path, *, platform, cores):
        pass

    def run(self, inputs):
        return self.gives(inputs["x"])

    def close(self):
        pass


def requests(*rows):
    return [(InferRequest({"x": np.full((n, 2), at, np.float32)}), n) for at, n in enumerate(rows)]


def test_each_request_gets_its_own_rows():
    found = Runner(Scripted(lambda x: {"y": x * 2}), CONTRACT).run(requests(1, 3, 2))
    for at, (rows, outputs) in enumerate(zip((1, 3, 2), found, strict=True)):
        np.testing.assert_array_equal(outputs["y"], np.full((rows, 2), 2.0 * at))


def test_another_precision_of_the_same_kind_becomes_the_one_agreed_on():
    (found,) = Runner(Scripted(lambda x: {"y": x.astype(np.float16), "more": x}), CONTRACT).run(requests(1))
    assert {name: array.dtype for name, array in found.items()} == {"y": np.dtype("f4")}


anything = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=3),
    st.sampled_from(
        [np.zeros(()), np.zeros((2, 2), object), np.zeros((3, 2)), np.zeros((2, 2), complex), np.zeros((2,), "U3")]
    ),
)


@given(anything | st.dictionaries(st.sampled_from(["y", "z"]), anything, max_size=2))
def test_whatever_an_engine_gives_is_an_answer_or_a_failed_inference(gives):
    with pytest.raises(InferenceFailed):
        Runner(Scripted(lambda x: gives), CONTRACT).run(requests(1, 1))


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), MemoryError(), KeyError("y"), ZeroDivisionError(), RecursionError()]
)
def test_whatever_an_engine_raises_is_a_failed_inference_and_a_failed_probe_is_a_lost_engine(error):
    def fail(x):
        raise error

    with pytest.raises(InferenceFailed, match=type(error).__name__):
        Runner(Scripted(fail), CONTRACT).run(requests(1))
    with pytest.raises(EngineLost):
        Runner(Scripted(fail), CONTRACT).probe()


def test_something_is_said_at_least_every_half_second_and_no_more_than_needed():
    said, now = [], [0.0]
    voice = Voice(said.append, now=lambda: now[0])
    voice.say(Ready())
    for _ in range(100):
        now[0] += 0.05
        voice.alive()
    assert said[0] == Ready()
    assert 10 <= said.count(Alive()) <= 13


def test_the_end_of_a_batch_is_said_whatever_comes_of_it():
    said = []
    with pytest.raises(ValueError, match="x"), Voice(said.append).batch(5.0, {0: 7}, alone=True):
        raise ValueError("x")
    assert said == [BatchBegan(limit_ms=5.0, alone=True, furthest={0: 7}), BatchEnded()]


def test_what_was_counted_is_told_and_its_waits_are_those_of_late():
    tally = Tally()
    for what, count in (("arrived", 5), ("answered", 3), ("expired", 1), ("failed", 1)):
        for _ in range(count):
            tally.count(what)
    for queue_ms in [1e6, *range(1, KEPT + 1)]:
        tally.waited(queue_ms)
    tally.ran(queries=3, took_ms=4.0, expected_ms=5.0)
    tally.ran(queries=2, took_ms=1.5, expected_ms=2.0)
    told = tally.stats([Position(partition=1, end=9, completed=7)], offline=2)
    assert told.counters == Counters(
        arrived=5, answered=3, expired=1, failed=1, batches=2, busy_ms=5.5, batch_size_sum=5, queue_ms_p99=253.0
    )
    assert told.last == LastBatch(took_ms=1.5, queries=2, expected_ms=2.0)
    assert (told.positions, told.offline) == ((Position(partition=1, end=9, completed=7),), 2)
