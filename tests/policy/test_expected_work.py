"""How much is waiting where, as a router knows it: reports, what it sent since, and nothing counted twice or for the dead."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.router.load import FORGET_ABOVE, ORPHAN_MS, Load, PartitionLoad
from infaas.router.running import RunningAt
from infaas.router.starts import FORGET_MS, USUAL_MS, USUAL_TIMES, Starts
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
from infaas.schemas.reports import Backlog, BacklogEntry, InstanceReport, Position, VariantWanted, WorkerReport
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


COLD = view(worker())
RUNNING = view(worker(), instance(), assignment())


def backlog(*positions, boot_id="b1", query_ms=2.0):
    positions = tuple(Position(partition=p, end=end, completed=done) for p, end, done in positions)
    return Backlog(
        worker="w",
        boot_id=boot_id,
        entries=(BacklogEntry(variant=NAME, instance=0, query_ms=query_ms, positions=positions),),
    )


def at(load, picture=RUNNING):
    (found,) = load.scene(picture, (NAME,), 0.0).running[NAME].at(0.0)
    return found


def send(load, partition=0):
    load.sending(NAME, partition, at(load))


def not_yet(load, picture, now_ms):
    return load.scene(picture, (NAME,), now_ms).not_yet[NAME]


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
                send(load)
                unconfirmed += 1
            case "confirmed" if unconfirmed:
                load.sent(NAME, 0, value, to=at(load))
                unconfirmed, confirmed = unconfirmed - 1, [*confirmed, value]
            case "failed" if unconfirmed:
                load.sent(NAME, 0, None, to=at(load))
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
    send(load, 1)
    assert (at(load).backlog, at(load).partitions) == (7, (0, 1))
    assert at(load).expected_work_ms == 8 * 2.0


def test_a_sent_query_is_not_lost_between_its_confirmation_and_the_next_report():
    load = Load()
    load.report(backlog((0, 10, 10)), RUNNING)
    send(load)
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
    before = replace(at(load))
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
    send(load)
    load.forget(View(1, 1))
    load.sent(NAME, 0, None)
    assert at(load).backlog == 0
    send(load)
    assert at(load).backlog == 1


def test_while_nobody_reports_the_memory_is_bounded_and_it_still_counts_as_much():
    load = Load()
    for offset in range(3 * FORGET_ABOVE):
        load.sending(NAME, 0)
        load.sent(NAME, 0, offset)
    load.report(backlog(), RUNNING)
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
        scene = Load().scene(picture, (NAME,), 0.0)
        assert (list(scene.running), list(scene.not_yet)) == ([], [NAME])


def test_ready_time_counts_from_when_it_began_and_does_not_shrink_to_nothing():
    whole = USUAL_MS + VARIANT.profile.load_ms
    cold, starting = COLD, view(worker(), instance(state="starting", since_ms=1000))
    left = not_yet
    load = Load()
    assert left(load, cold, 1000.0).ready_in_ms == whole
    assert load.want(NAME, cold, 1000.0)
    assert not load.want(NAME, cold, 1100.0)
    assert left(load, cold, 1100.0).ready_in_ms == whole - 100
    assert left(Load(), starting, 1100.0).ready_in_ms == whole - 100
    assert left(Load(), starting, 1100.0).starting
    assert left(load, cold, 1000.0 + 2 * whole).ready_in_ms == whole


def test_of_a_variant_that_does_not_run_only_what_is_still_wanted_there_counts():
    load = Load()
    for offset, drop_after_ms in enumerate((1_500.0, 9_000.0, math.inf)):
        load.sending(NAME, 0)
        load.sent(NAME, 0, offset, 1_000.0, drop_after_ms)
    assert not_yet(load, COLD, 1_500.0).waiting == 3
    assert not_yet(load, COLD, 1_501.0).waiting == 2, "nobody wants the first any more"
    assert not_yet(load, COLD, 1_000.0 + ORPHAN_MS + 1).waiting == 0, "whatever waited there has been returned"
    starting = view(worker(), instance(state="starting", since_ms=1_000))
    assert not_yet(load, starting, 8_000.0).waiting == 2, "one that loads for long keeps what waits for it"


def test_what_was_returned_leaves_the_count_and_the_wish_with_it():
    load = Load()
    load.want(NAME, COLD, 900.0)
    load.report(backlog((0, 10, 4)), RUNNING, 900.0)
    for offset, at_ms in ((10, 1_000.0), (11, 1_200.0)):
        load.sending(NAME, 0)
        load.sent(NAME, 0, offset, at_ms)
    assert not_yet(load, COLD, 1_200.0).waiting == 8
    load.returned([NAME], 1_100.0)
    assert not_yet(load, COLD, 1_200.0).waiting == 1
    assert load.want(NAME, COLD, 1_200.0)
    load.returned(["nobody.v1.onnxruntime-cpu1-fp32"], 1_200.0)


def test_a_wish_that_nothing_came_of_is_no_slow_start():
    load = Load()
    load.want(NAME, COLD, 0.0)
    later = 180_000.0
    assert not_yet(load, COLD, later).ready_in_ms == USUAL_MS + VARIANT.profile.load_ms
    assert load.want(NAME, COLD, later)
    for _ in range(4):
        load.learn_starts(RUNNING, later + VARIANT.profile.load_ms + 400.0)
    assert not_yet(load, COLD, later + 1_000.0).ready_in_ms <= USUAL_MS + VARIANT.profile.load_ms


def wanted(variant=NAME):
    return VariantWanted(variant=variant, router="another")


def test_what_another_router_wants_starts_from_then_on_as_what_this_one_wants_does():
    load = Load()
    assert not not_yet(load, COLD, 900.0).starting
    load.report(wanted(), COLD, 1_000.0)
    assert not_yet(load, COLD, 1_200.0).starting
    assert not_yet(load, COLD, 1_200.0).ready_in_ms == USUAL_MS + VARIANT.profile.load_ms - 200.0
    assert not load.want(NAME, COLD, 1_200.0), "it is no news"
    assert not not_yet(load, COLD, 1_001.0 + ORPHAN_MS).starting, "nothing came of it"


def test_a_wish_for_what_runs_or_is_gone_is_not_remembered():
    load = Load()
    load.report(wanted(), RUNNING, 1_000.0)
    load.report(wanted("gone.v1.onnxruntime-cpu1-fp32"), COLD, 1_000.0)
    load.learn_starts(RUNNING, 1_010.0)
    assert load.want(NAME, COLD, 1_100.0)
    assert not_yet(load, COLD, 1_100.0).ready_in_ms == USUAL_MS + VARIANT.profile.load_ms, "and no start was learned"


def test_a_start_is_learned_for_the_variant_that_started_and_one_alone_proves_nothing():
    starts = Starts()
    starts.observe("slow", 180_000.0, 0.0)
    assert starts.delay_ms("slow", 1.0) == USUAL_MS
    for _ in range(USUAL_TIMES):
        starts.observe("slow", 180_000.0, 1.0)
    assert starts.delay_ms("slow", 2.0) == 180_000.0
    assert starts.delay_ms("other", 2.0) == USUAL_MS
    assert starts.delay_ms("slow", 2.0 + FORGET_MS) == USUAL_MS


@given(st.lists(st.floats(0, 1e6), max_size=40))
def test_what_a_start_is_taken_to_need_is_never_beyond_what_was_seen(times):
    starts = Starts()
    for took_ms in times:
        starts.observe("v", took_ms, 0.0)
    assert min([*times, USUAL_MS]) <= starts.delay_ms("v", 0.0) <= max([*times, USUAL_MS])


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.01, 100))
def test_expected_work_grows_with_what_waits(waiting, more, query_ms):
    one, other = (RunningAt("w", 0, "active", n, query_ms, 1.0, (0,)) for n in (waiting, waiting + more))
    assert 0 < one.expected_work_ms < other.expected_work_ms
    assert math.isclose(other.expected_work_ms, (waiting + more + 1) * query_ms)
