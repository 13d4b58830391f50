"""One build under its supervisor, with a child that only speaks: it is tried again, and what keeps it from starting passes."""

import errno

import pytest
from children import SilentChild

from infaas.host.messages import Alive, Failed, Finished, Measured
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Built, ProfilePoint, Recipe, Variant
from infaas.schemas.profile import BatchPoint
from infaas.workers.building import AGAIN_MAX_S, AGAIN_S, TRIES, Building

NAME = "double.v1.onnxruntime-cpu1-fp32"
TENSOR = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
VARIANT = Variant(
    variant=NAME, architecture="double", application="numbers", state="planned", validation_digest="v",
    recipe=Recipe(source_digest="s", generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32"),
    contract=Contract(inputs=(TENSOR,), outputs=(TENSOR,), validation_digest="v"),
)  # fmt: skip


class Host:
    """The supervisor's part: a clock, what is written, the children it started."""

    def __init__(self, refuse=None):
        self.now_s, self.written, self.children, self.refuse, self.tries = 100.0, [], [], refuse, 0
        self.building = Building(
            variant=VARIANT, worker="w", cores=(0,), memory_bytes=1, launch=self.launch, write=self.written.append,
            now=lambda: self.now_s,
        )  # fmt: skip

    def launch(self):
        self.tries += 1
        if self.refuse is not None:
            raise self.refuse
        self.children.append(SilentChild())
        return self.children[-1]

    def step(self, after_s=0.1):
        until_s = self.now_s + after_s
        while self.now_s < until_s:
            self.now_s += 0.1
            self.building.step()

    def end(self, *said, status=0):
        self.children[-1].said += said
        self.children[-1].ended = status
        self.building.step()

    def wait(self, seconds):
        self.now_s += seconds
        self.building.step()

    def die(self):
        self.children[-1].ended = -9
        self.step()


ERRORS = [OSError(errno.ENOMEM, "cannot allocate memory"), RuntimeError("can't start new thread")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("deaths", [0, 1], ids=["the first time", "after a death"])
def test_a_build_that_cannot_be_started_is_started_later_and_no_try_is_lost(error, deaths):
    host = Host(refuse=None if deaths else error)
    for _ in range(deaths):
        host.refuse = error
        host.die()
    host.step(20.0)
    assert 3 <= host.tries - deaths <= 10, "it is tried again, with pauses"
    assert host.written == []
    host.refuse = None
    host.step(6.0)
    point = BatchPoint(batch=1, p50_ms=1.0, p99_ms=2.0)
    built = Built(variant=NAME, worker="w", outcome="not_applicable", reason="no MatMul")
    host.children[-1].said += [Measured(point=point), Finished(built=built)]
    host.die()
    assert host.written == [ProfilePoint(variant=NAME, worker="w", point=point), built]
    assert host.building.done


def test_a_build_that_dies_is_tried_once_more_and_has_failed_then():
    host = Host()
    for _ in range(TRIES):
        assert not host.building.done
        host.die()
        host.step(6.0)
    assert (host.building.done, host.written[-1].outcome) == (True, "failed")
    assert len(host.children) == TRIES


def test_a_build_that_says_why_it_fails_is_not_tried_again():
    host = Host()
    host.children[-1].said.append(Failed(reason="the model has no outputs"))
    host.die()
    host.step(20.0)
    assert [record.reason for record in host.written] == ["the model has no outputs"]
    assert len(host.children) == 1


FULL = Failed(reason="no room in /cache", code="storage_full", retryable=True)


@pytest.fixture
def host():
    return Host()


def test_a_full_disk_is_told_once_and_waited_for_as_long_as_it_takes(host):
    for attempt in range(2, 10):
        host.end(FULL)
        assert host.building.child is None
        assert not host.building.done
        host.wait(AGAIN_S / 2 if attempt == 2 else 0.0)
        assert len(host.children) == attempt - 1, "not at once"
        host.wait(AGAIN_MAX_S)
        assert len(host.children) == attempt
    assert host.written == [Built(variant=NAME, worker="w", outcome="waiting", reason="no room in /cache")]
    found = Built(variant=NAME, worker="w", outcome="built", artifact_digest="d")
    host.end(Finished(built=found))
    assert host.building.done
    assert host.written[-1] == found


def test_another_reason_is_told_too(host):
    host.end(FULL)
    host.wait(AGAIN_MAX_S)
    host.end(FULL.model_copy(update={"reason": "no room in /repository"}))
    assert [fact.reason for fact in host.written] == ["no room in /cache", "no room in /repository"]


def test_a_death_counts_and_a_full_disk_does_not(host):
    for _ in range(TRIES - 1):
        host.end(status=-6)
    host.end(FULL)
    host.wait(AGAIN_MAX_S)
    assert not host.building.done
    host.end(Alive(), status=-6)
    assert host.building.done
    assert host.written[-1].outcome == "failed"
    assert "killed by SIGABRT (mostly: a library gave up by itself" in host.written[-1].reason
