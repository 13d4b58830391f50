"""One instance under its supervisor, with a child that only speaks: whose fault an end is, and what its fact says."""

import errno

import pytest
from children import SilentChild

from infaas.host.deadlines import LEASE_S, RELEASE_S, SILENCE_S
from infaas.host.messages import (
    Alive,
    BatchBegan,
    BatchEnded,
    Failed,
    Keep,
    Ready,
    Refused,
    Release,
    Released,
    Stats,
    Stop,
    Take,
)
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Assignment, Hardware, Owner, Ownership, Recipe, Variant, Worker, kind_of
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.reports import Counters, Position
from infaas.store.view import View
from infaas.workers.crashes import OUTSIDE_S, RECORDS
from infaas.workers.running import AGAIN_S, LOAD_FLOOR_S, Running

NAME = "double.v1.onnxruntime-cpu1-fp32"
ME = Owner(worker="w", boot_id="b", instance=0)
POINT = BatchPoint(batch=1, p50_ms=1.0, p99_ms=1.0)
PROFILE = Profile(load_ms=10.0, peak_memory_bytes=1, accuracy=0.9, points=(POINT,), slope=1.0, intercept=0.0)
TENSOR = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
VARIANT = Variant(
    variant=NAME, architecture="double", application="numbers", state="ready", validation_digest="v", profile=PROFILE,
    recipe=Recipe(source_digest="s", generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32"),
    contract=Contract(inputs=(TENSOR,), outputs=(TENSOR,), validation_digest="v"), artifact_digest="a",
)  # fmt: skip
WORKER = Worker(
    worker="w", boot_id="b", machine_type="local", hardware=Hardware(cores=1, memory_bytes=1), price_per_hour=0.1
)


class Host:
    """The supervisor's part: a clock, the log of facts, the children it started."""

    def __init__(self, partitions=2):
        self.now_s, self.facts, self.children, self.refuse = 100.0, [], [], None
        self.log_loses, self.tries = False, 0
        self.partitions = tuple(Ownership(owner=ME) for _ in range(partitions))
        self.running = Running(
            variant=VARIANT, me=ME, launch=self.launch, cores=(0,), write=self.facts.append,
            now_ms=lambda: self.now_s * 1000.0, now=lambda: self.now_s,
        )  # fmt: skip

    def launch(self):
        self.tries += 1
        if self.refuse is not None:
            raise self.refuse
        self.children.append(SilentChild())
        return self.children[-1]

    @property
    def child(self):
        return self.children[-1]

    @property
    def fact(self):
        return self.facts[-1]

    @property
    def view(self):
        kinds = {}
        for record in (WORKER, Assignment(variant=NAME, partitions=self.partitions)):
            kinds.setdefault(kind_of(record.key), {})[record.key] = record
        return View(1, 0, kinds)

    def step(self, after_s=0.0, *said, others=False):
        """Time passes in steps of half a second, in each of which the child says that it is alive; then it says this."""
        while after_s > 0.5:
            after_s -= 0.5
            self.now_s += 0.5
            self.child.said.append(Alive())
            self.once(others)
        self.now_s += after_s
        self.child.said.extend(said)
        self.once(others)

    def silence(self, seconds):
        """Time passes and the child says nothing."""
        for _ in range(int(seconds * 10)):
            self.now_s += 0.1
            self.once()

    def once(self, others=False):
        before = len(self.facts)
        self.running.step(self.view, others=others)
        if not self.log_loses:
            for fact in self.facts[before:]:
                self.running.read_back(fact, self.view)

    def hold(self):
        """Ready, with all partitions."""
        self.step(0.1, Ready())
        self.step()
        self.step()
        assert [m.partition for m in self.child.told if isinstance(m, Take)] == list(range(len(self.partitions)))

    def die(self, *said):
        self.child.said.extend(said)
        self.child.ended = -9
        self.step(0.1)

    def again(self):
        """The pause passes, and the next process is ready."""
        count = len(self.children)
        self.step(6.0)
        assert len(self.children) == count + 1
        self.hold()


@pytest.fixture
def host():
    return Host()


def began(limit_ms=10_000.0, alone=False, **furthest):
    return BatchBegan(limit_ms=limit_ms, alone=alone, furthest={int(p[1:]): o for p, o in furthest.items()})


def test_ready_becomes_active_and_takes_its_partitions(host):
    assert host.fact.state == "starting"
    host.hold()
    assert (host.fact.state, host.fact.taken) == ("active", (0, 1))


def test_a_fact_that_is_lost_is_written_until_it_is_read_back(host):
    host.log_loses = True
    host.step(0.1, Ready())
    lost = len(host.facts)
    host.step(AGAIN_S / 2)
    assert len(host.facts) == lost
    assert not any(isinstance(message, Take) for message in host.child.told)
    host.log_loses = False
    host.step(AGAIN_S)
    assert len(host.facts) > lost
    host.step()
    assert [m.partition for m in host.child.told if isinstance(m, Take)] == [0, 1]


def test_an_idle_instance_that_says_nothing_is_a_death(host):
    host.hold()
    host.silence(SILENCE_S - 0.2)
    assert not host.child.killed
    host.silence(0.5)
    assert host.children[0].killed
    assert (host.fact.state, host.fact.died) == ("starting", {0: 0, 1: 0})
    assert "silent" in host.fact.reason
    host.again()
    assert host.fact.taken == (0, 1)


def test_a_child_hears_its_supervisor_often_enough_to_go_on(host):
    host.hold()
    before = sum(isinstance(message, Keep) for message in host.child.told)
    host.step(10 * LEASE_S)
    assert sum(isinstance(message, Keep) for message in host.child.told) - before >= 3 * 10


def test_while_it_loads_the_limit_of_loading_holds(host):
    host.silence(LOAD_FLOOR_S - 0.5)
    assert not host.child.killed
    host.silence(1.0)
    assert host.children[0].killed


def test_a_supervisor_that_was_away_holds_it_against_nobody(host):
    host.hold()
    host.step(0.0, began(limit_ms=5_000))
    host.now_s += 60.0
    host.once()
    host.step(0.0, BatchEnded())
    host.now_s += 60.0
    host.once()
    assert not host.child.killed


def test_a_batch_has_its_own_limit_and_being_overdue_is_a_death_that_says_how_far_it_had_taken(host):
    host.hold()
    host.step(0.0, began(limit_ms=20_000, _0=7, _1=3))
    host.silence(19.0)
    assert not host.child.killed
    host.silence(2.0)
    assert host.children[0].killed
    assert host.fact.died == {0: 7, 1: 3}
    assert host.fact.taken == ()


def test_a_release_that_is_overdue_is_no_death(host):
    host.hold()
    host.partitions = (Ownership(owner=ME), Ownership())
    host.step()
    assert host.child.told[-1] == Release(partition=1)
    host.step(RELEASE_S + 0.5)
    assert host.children[0].killed
    assert (host.facts[-1].died, host.running.state) == ({}, "starting")
    assert 1 in host.fact.released


def test_a_drain_that_is_overdue_is_no_death(host):
    host.hold()
    host.running.drain()
    host.step(0.0, began(limit_ms=60_000))
    host.step(RELEASE_S + 0.5)
    assert host.child.killed
    assert host.running.gone
    assert (host.fact.died, host.fact.taken, host.fact.released) == ({}, (), (0, 1))


def test_a_drain_releases_and_then_stops(host):
    host.hold()
    host.running.drain()
    host.step()
    assert host.child.told[-2:] == [Release(partition=0), Release(partition=1)]
    host.step(0.1, Released(partition=0), Released(partition=1))
    assert host.child.told[-1] == Stop()
    host.child.ended = 0
    host.step(0.1)
    assert host.running.gone
    assert not host.child.killed


def test_a_stop_says_what_became_of_its_partitions(host):
    host.hold()
    host.running.stop()
    assert host.child.killed
    assert (host.fact.state, host.fact.taken, host.fact.released) == ("stopped", (), (0, 1))


def test_a_successor_is_not_held_to_what_its_predecessor_was_to_release(host):
    host.hold()
    host.partitions = (Ownership(owner=ME), Ownership())
    host.step()
    host.die()
    host.step(1.0)
    host.step(0.1, Ready())
    host.step(RELEASE_S + 5.0)
    assert len(host.children) == 2
    assert not host.child.killed


def test_three_crashes_within_a_minute_have_failed(host):
    host.hold()
    host.die()
    host.again()
    host.die()
    host.again()
    host.die()
    assert host.fact.state == "failed"
    host.step(60.0)
    assert len(host.children) == 3


def test_the_pause_grows(host):
    pauses = []
    for _ in range(2):
        host.step(0.1, Ready())
        host.die()
        died_s, count = host.now_s, len(host.children)
        while len(host.children) == count:
            host.now_s += 0.01
            host.once()
        pauses.append(host.now_s - died_s)
    assert pauses == pytest.approx([0.2, 0.4], abs=0.02)


def test_crashes_that_lie_apart_do_not_add_up(host):
    host.hold()
    for _ in range(10):
        host.die()
        host.again()
        host.step(30.0)
    assert host.fact.state == "active"


def test_deaths_of_records_do_not_count_and_neither_does_the_one_that_made_them_run_alone(host):
    host.hold()
    for offset in range(10):
        host.die(began(_0=offset + 3))
        host.again()
        host.die(began(alone=True, _0=offset + 1))
        host.again()
        host.step(0.1, began(), BatchEnded(), Stats(counters=Counters(answered=1)))
    assert host.fact.state == "active"


def test_one_that_dies_of_record_after_record_and_answers_none_has_failed(host):
    host.hold()
    for _ in range(RECORDS - 1):
        host.die(began(alone=True))
        host.again()
    assert host.fact.state == "active"
    host.die(began(alone=True))
    assert host.fact.state == "failed"


def test_what_lies_outside_is_no_death_and_no_crash_but_not_for_ever(host):
    host.hold()
    no_broker = Failed(reason="no broker answers", code="kafka_unavailable", retryable=True)
    host.die(no_broker)
    assert (host.fact.state, host.fact.died, host.fact.reason) == ("starting", {}, "no broker answers")
    begun_s = host.now_s
    while host.fact.state != "failed":
        host.step(6.0)
        host.die(no_broker)
        assert host.now_s - begun_s < 2 * OUTSIDE_S
    assert host.now_s - begun_s >= OUTSIDE_S
    assert host.fact.reason == "no broker answers"


def test_having_become_ready_what_was_outside_has_passed(host):
    for _ in range(60):
        host.die(Ready(), Failed(reason="no broker answers", retryable=True))
        host.step(6.0)
    assert host.fact.state != "failed"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no such interpreter"),
        OSError(errno.EMFILE, "too many open files"),
        MemoryError("out of memory"),
        RuntimeError("can't start new thread"),
        ValueError("no process can be made of this"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_process_that_cannot_be_started_is_started_later_whatever_the_reason(host, error):
    host.hold()
    host.die()
    host.refuse = error
    tries = host.tries
    host.step(20.0)
    assert 3 <= host.tries - tries <= 10, "it is tried again, with pauses"
    assert str(error) in host.fact.reason
    host.refuse = None
    host.step(6.0)
    host.hold()
    assert host.fact.state == "active"


def test_a_refused_partition_is_taken_again_when_nobody_else_could_try(host):
    host.step(0.1, Ready(), others=True)
    host.step(others=True)
    host.step(0.1, Refused(partition=0), others=True)
    host.step(0.1, others=True)
    assert host.fact.taken == (1,)
    host.step(0.1, others=False)
    assert host.fact.taken == (0, 1)


def test_what_goes_wrong_while_it_is_looked_after_is_its_own_crash(host):
    host.hold()
    host.step(0.0, began(_0=7))
    host.running.crash("KeyError: 7")
    assert host.child.killed
    assert (host.fact.state, host.fact.reason, host.fact.died) == ("starting", "KeyError: 7", {0: 7, 1: 0})
    host.again()
    assert host.fact.state == "active"


def test_a_report_carries_every_counter_of_the_instance(host):
    host.hold()
    counters = Counters(**{name: number for number, name in enumerate(Counters.model_fields, start=1)})
    position = Position(partition=1, end=5, completed=3)
    host.step(0.1, Stats(counters=counters, positions=(position,)))
    report = host.running.report()
    assert Counters(**report.model_dump(include=set(Counters.model_fields))) == counters
    assert report.positions == host.running.backlog().positions == (position,)
