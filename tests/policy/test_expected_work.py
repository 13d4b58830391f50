"""How much is waiting where, as a router knows it: reports, what it sent since, and nothing counted twice or for the dead."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.router.load import CONTROL_DELAY_MS, FORGET_ABOVE, PROCESS_START_MS, Load, PartitionLoad
from infaas.router.policy import RunningAt
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import (
    Assignment,
    Hardware,
    Instance,
    Owner,
    Ownership,
    Recipe,
    Variant,
    Verdict,
    Worker,
    kind_of,
)
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.reports import Backlog, BacklogEntry, InstanceReport, Position, WorkerReport
from infaas.store.view import View

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

NAME = "digits.v1.onnxruntime-cpu1-fp32"
SPEC = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))
VARIANT = Variant(
    variant=NAME, architecture="digits", application="app", state="ready", validation_digest="d", cost_per_hour=0.1,
    recipe=Recipe(
        source_digest="s", generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32"
    ),
    contract=Contract(inputs=(SPEC,), outputs=(SPEC,), validation_digest="d"),
    profile=Profile(
        load_ms=50, peak_memory_bytes=1, accuracy=0.9, points=(BatchPoint(batch=1, p50_ms=3, p99_ms=4),),
        slope=0, intercept=3,
    ),
)  # fmt: skip


def worker(name="w", boot_id="b1"):
    return Worker(
        worker=name,
        boot_id=boot_id,
        machine_type="local",
        hardware=Hardware(cores=1, memory_bytes=1),
        price_per_hour=0.1,
    )


def instance(boot_id="b1", state="active", taken=(0, 1), since_ms=0):
    return Instance(worker="w", boot_id=boot_id, variant=NAME, instance=0, state=state, taken=taken, since_ms=since_ms)


def assignment(boot_id="b1"):
    mine = Ownership(owner=Owner(worker="w", boot_id=boot_id, instance=0))
    return Assignment(variant=NAME, partitions=(mine, mine, Ownership()))


def view(*records):
    kinds = {}
    for record in (VARIANT, *records):
        kinds.setdefault(kind_of(record.key), {})[record.key] = record
    return View(1, 1, kinds)


RUNNING = view(worker(), instance(), assignment())


def backlog(*positions, boot_id="b1", query_ms=2.0):
    positions = tuple(Position(partition=p, end=end, completed=done) for p, end, done in positions)
    return Backlog(
        worker="w",
        boot_id=boot_id,
        entries=(BacklogEntry(variant=NAME, instance=0, query_ms=query_ms, positions=positions),),
    )


def at(load, picture=RUNNING):
    (found,) = load.scene(picture, (NAME,), 0.0, lambda _: True).running[NAME]
    return found


positions = st.builds(
    lambda end, left: Position(partition=0, end=end, completed=max(0, end - left)),
    st.integers(0, 40),
    st.integers(0, 40),
)
events = st.lists(
    st.tuples(st.just("report"), positions)
    | st.tuples(st.just("sending"), st.none())
    | st.tuples(st.just("confirmed"), st.integers(0, 60))
    | st.tuples(st.just("failed"), st.none()),
    max_size=40,
)


@given(events)
def test_backlog_is_what_was_reported_and_what_was_sent_since(happened):
    load, last, confirmed, unconfirmed = Load(), (0, 0), [], 0
    for what, value in happened:
        match what:
            case "report":
                load.report(backlog((0, value.end, value.completed)), RUNNING)
                if value.end >= last[0]:
                    last = value.end, value.completed
            case "sending":
                load.sending(NAME, 0)
                unconfirmed += 1
            case "confirmed" if unconfirmed:
                load.sent(NAME, 0, value)
                unconfirmed, confirmed = unconfirmed - 1, [*confirmed, value]
            case "failed" if unconfirmed:
                load.sent(NAME, 0, None)
                unconfirmed -= 1
        end, completed = last
        # An offset that was already below some reported end was counted there: it never counts again.
        expected = end - completed + sum(offset >= end for offset in confirmed) + unconfirmed
        assert at(load).backlog == expected
        assert expected >= 0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12), st.data())
def test_reports_may_come_in_any_order(steps, data):
    """Reports of one owner: both numbers only grow; of those with the same end the last heard counts."""
    end = completed = 0
    sent = []
    for grown, done in steps:
        end += grown
        completed = min(end, completed + done)
        sent.append(Position(partition=0, end=end, completed=completed))
    part = PartitionLoad()
    for position in data.draw(st.permutations(sent)):
        part.report(position)
        assert part.backlog >= 0
    assert part.backlog == end - completed


def test_partitions_of_an_instance_add_up_and_others_do_not_count():
    load = Load()
    load.report(backlog((0, 10, 4), (1, 5, 5), (2, 100, 0)), RUNNING)
    load.sending(NAME, 1)
    assert (at(load).backlog, at(load).partitions) == (7, (0, 1))
    assert at(load).expected_work_ms == 8 * 2.0


def test_a_sent_query_is_not_lost_between_its_confirmation_and_the_next_report():
    load = Load()
    load.report(backlog((0, 10, 10)), RUNNING)
    load.sending(NAME, 0)
    assert at(load).backlog == 1
    load.sent(NAME, 0, 10)
    assert at(load).backlog == 1
    load.report(backlog((0, 11, 10)), RUNNING)
    assert at(load).backlog == 1
    load.report(backlog((0, 11, 11)), RUNNING)
    assert at(load).backlog == 0


VOID = {
    "of an earlier life": view(worker(), instance(), assignment()),
    "of an instance nobody knows": view(worker(boot_id="old"), assignment()),
    "of a worker pronounced dead": view(
        worker(boot_id="old"), instance("old"), assignment("old"), Verdict(worker="w", boot_id="old")
    ),
}


@pytest.mark.parametrize("name", VOID)
def test_a_report_that_does_not_count_changes_nothing(name):
    load, inst = Load(), InstanceReport(variant=NAME, instance=0, pid=1, state="active", query_ms=99, slowdown=9)
    load.report(backlog((0, 10, 7)), RUNNING)
    before = at(load)
    load.report(backlog((0, 50, 0), boot_id="old", query_ms=99), VOID[name])
    told = inst.model_copy(update={"positions": (Position(partition=0, end=50, completed=0),)})
    load.report(WorkerReport(worker="w", boot_id="old", sequence=1, instances=(told,)), VOID[name])
    assert at(load) == before
    assert before.backlog == 3


def test_before_anything_is_observed_the_profile_speaks():
    load = Load()
    assert at(load).query_ms == 3
    load.report(
        WorkerReport(
            worker="w",
            boot_id="b1",
            sequence=1,
            instances=(InstanceReport(variant=NAME, instance=0, pid=1, state="starting"),),
        ),
        RUNNING,
    )
    assert at(load).query_ms == 3
    load.report(backlog(query_ms=7.0), RUNNING)
    assert at(load).query_ms == 7


def test_a_confirmation_that_comes_after_its_variant_was_forgotten_leaves_no_debt():
    load = Load()
    load.sending(NAME, 0)
    load.forget(View(1, 1))
    load.sent(NAME, 0, None)
    assert at(load).backlog == 0
    load.sending(NAME, 0)
    assert at(load).backlog == 1


def test_while_nobody_reports_the_memory_is_bounded_and_it_still_counts_as_much():
    load = Load()
    for offset in range(3 * FORGET_ABOVE):
        load.sending(NAME, 0)
        load.sent(NAME, 0, offset)
    assert FORGET_ABOVE // 2 <= at(load).backlog <= FORGET_ABOVE


def test_a_variant_without_an_owner_that_counts_does_not_run():
    for picture in (
        view(worker(), assignment()),
        view(worker(), instance()),
        view(worker(), instance(state="starting"), assignment()),
        view(worker(), instance(state="draining"), assignment()),
        view(worker(boot_id="b2"), instance(), assignment()),
        view(worker(), instance(), assignment("b2")),
    ):
        scene = Load().scene(picture, (NAME,), 0.0, lambda _: True)
        assert (list(scene.running), list(scene.not_yet)) == ([], [NAME])


def test_ready_time_counts_from_when_it_began_and_does_not_shrink_to_nothing():
    whole = CONTROL_DELAY_MS + PROCESS_START_MS + VARIANT.profile.load_ms
    cold, starting = view(worker()), view(worker(), instance(state="starting", since_ms=1000))

    def left(load, picture, now_ms):
        return load.scene(picture, (NAME,), now_ms, lambda _: True).not_yet[NAME]

    load = Load()
    assert left(load, cold, 1000.0).ready_in_ms == whole
    assert load.want(NAME, 1000.0)
    assert not load.want(NAME, 1100.0)
    assert left(load, cold, 1100.0).ready_in_ms == whole - 100
    assert left(Load(), starting, 1100.0).ready_in_ms == whole - 100
    assert left(Load(), starting, 1100.0).starting
    assert left(load, cold, 1000.0 + 2 * whole).ready_in_ms == whole


def test_the_time_a_start_took_is_learned():
    load = Load()
    before = load.start_delay_ms
    load.want(NAME, 1000.0)
    load.scene(RUNNING, (NAME,), 1000.0 + VARIANT.profile.load_ms + before + 1000.0, lambda _: True)
    assert before < load.start_delay_ms < before + 1000.0


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.01, 100))
def test_expected_work_grows_with_what_waits(waiting, more, query_ms):
    one, other = (RunningAt("w", 0, "active", n, query_ms, 1.0, (0,)) for n in (waiting, waiting + more))
    assert 0 < one.expected_work_ms < other.expected_work_ms
    assert one.done_in_ms(5.0) <= other.done_in_ms(5.0)
    assert math.isclose(other.expected_work_ms, (waiting + more + 1) * query_ms)
