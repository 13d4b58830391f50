"""Where builds run: they stay, they spread, they wait a bounded time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.policy.build import MOST_BYTES, build_bytes
from infaas.scaler.building import ANY_AFTER_S, SPARE_AFTER_S, place_builds, starved
from infaas.scaler.machines import AddMachine, Park, decide
from infaas.scaler.snapshot import DemandClass, Room, Snapshot
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Placement, Recipe, Variant
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.servable import Servable

GIB = 1 << 30
PROFILE = Profile(
    load_ms=100, peak_memory_bytes=100, accuracy=0.9, points=(BatchPoint(batch=1, p50_ms=10, p99_ms=10),), slope=10, intercept=0
)  # fmt: skip
CONTRACT = Contract(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="INT64", shape=(-1,)),),
    validation_digest="sha256:" + "0" * 64,
)


def planned(architecture="new", cores=1, state="planned"):
    recipe = Recipe(
        source_digest="sha256:1", generator="onnx", engine="onnxruntime", platform="cpu", cores=cores, precision="fp32"
    )
    return Variant(
        variant=f"{architecture}.v1.onnxruntime-cpu{cores}-fp32", architecture=architecture, application="app",
        recipe=recipe, state=state, contract=CONTRACT, validation_digest=CONTRACT.validation_digest,
        profile=PROFILE if state == "ready" else None, cost_per_hour=1.0,
    )  # fmt: skip


def room(name="w", cores=2, memory=8 * GIB):
    return Room(name, ("cpu",), cores, memory)


def scene(rooms, placed, now_s=0.0, rate=50.0):
    variants = {v: Servable(v, "app", PROFILE, 1.0, "cpu", 1) for v in ("a", "b")}
    active = {}
    for (_, variant), count in placed.items():
        active[variant] = active.get(variant, 0) + count
    classes = (DemandClass(("a",), None, "cost", rate),)
    return Snapshot(now_s, classes, variants, {r.worker: r for r in rooms}, placed, active)


def builds(now, *variants, placements=(), needed=None, waiting=None, at_most=0):
    records = {v.variant: v for v in variants}
    places = {(p.worker, p.variant): p for p in placements}
    return place_builds(
        now, records, {}, places, now.placed, needed=needed or {}, waiting=waiting or {}, at_most=at_most
    )


def test_a_build_whose_worker_came_back_smaller_holds_no_room():
    """It went on being kept on a worker that can't run it, and nothing else was built or placed there."""
    large, small = planned(cores=2), planned(cores=1)
    kept = Placement(worker="w", variant=large.variant, build=True)
    assert builds(scene([room(cores=2)], {}), large, small, placements=[kept]).places == {("w", large.variant)}
    found = builds(scene([room(cores=1)], {}), large, small, placements=[kept])
    assert found.places == {("w", small.variant)}
    assert set(found.waiting) == {large.variant}


def test_a_small_machine_builds_too():
    assert build_bytes(GIB // 2) == GIB // 4
    assert build_bytes(64 * GIB) == MOST_BYTES
    assert builds(scene([room(memory=GIB // 2)], {}), planned()).places == {("w", planned().variant)}


def test_what_the_load_does_not_need_gives_way_soon_and_what_it_needs_only_to_a_model_without_any_variant():
    full = {("w", "a"): 1, ("w", "b"): 1}
    now = scene([room()], full)
    first = builds(now, planned(), needed={"a": 1})
    assert (first.places, first.waiting) == (frozenset(), {planned().variant: 0.0})
    later = replace(now, now_s=SPARE_AFTER_S)
    found = builds(later, planned(), needed={"a": 1}, waiting=first.waiting)
    assert (found.places, found.evicted) == ({("w", planned().variant)}, {("w", "b"): 1})
    assert builds(later, planned(), needed={"a": 1, "b": 1}, waiting=first.waiting).places == frozenset()
    last = replace(now, now_s=ANY_AFTER_S)
    served = planned(cores=2, state="ready")
    assert builds(last, planned(), served, needed={"a": 1, "b": 1}, waiting=first.waiting).places == frozenset()
    found = builds(last, planned(), needed={"a": 1, "b": 1}, waiting=first.waiting)
    assert found.evicted == {("w", "b"): 1}, "nobody asks for b"


def test_builds_wait_for_their_turn_without_pushing_anybody_out():
    one, two = planned("one"), planned("two")
    now = replace(scene([room()], {("w", "a"): 1}), now_s=1e6)
    found = builds(now, one, two, at_most=1, waiting={two.variant: 0.0})
    assert (len(found.places), found.evicted, found.waiting) == (1, {}, {two.variant: 0.0})


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=3),
    st.lists(st.integers(1, 4), min_size=1, max_size=4, unique=True),
    st.sampled_from([0, 1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_what_a_worker_could_build_is_built_within_bounded_time_and_no_core_twice(workers, cores, at_most):
    rooms = [room(f"w{n}", cores=count) for n, (count, _) in enumerate(workers)]
    placed = {(f"w{n}", "a"): min(count, held) for n, (count, held) in enumerate(workers) if min(count, held)}
    needed = {"a": sum(placed.values())}
    open_ = {v.variant: v for v in (planned(f"m{n}", cores=count) for n, count in enumerate(cores))}
    placements, waiting = {}, {}
    able = {v for v, r in open_.items() if any(r.recipe.cores <= one.cores for one in rooms)}
    for second in range(int(ANY_AFTER_S) + 3 * len(open_)):
        now = scene(rooms, placed, now_s=float(second))
        found = place_builds(now, open_, {}, placements, placed, needed=needed, waiting=waiting, at_most=at_most)
        for one in rooms:
            held = sum(n - found.evicted.get(p, 0) for p, n in placed.items() if p[0] == one.worker)
            assert held + sum(open_[v].recipe.cores for w, v in found.places if w == one.worker) <= one.cores
        for _, variant in found.places:  # each takes a second
            open_.pop(variant)
        waiting = found.waiting
    assert not able & set(open_)


@pytest.mark.parametrize("platform", ["cuda", "tensorrt"])
def test_what_no_worker_has_the_platform_for_waits_and_pushes_nobody_out(platform):
    variant = planned()
    variant = variant.model_copy(update={"recipe": variant.recipe.model_copy(update={"platform": platform})})
    now = replace(scene([room()], {("w", "b"): 2}), now_s=1e6)
    found = builds(now, variant, waiting={variant.variant: 0.0})
    assert (found.places, found.evicted, set(found.waiting)) == (frozenset(), {}, {variant.variant})


HOUR_S = 3600


def under_load(served, waiting, rooms, *, seconds=HOUR_S, at_most=0):
    """Decides each second, as the scaler does, while the load needs all that is placed; returns what was found last."""
    placed = {(one.worker, "a"): 1 for one in rooms}
    held, found = dict.fromkeys([waiting.variant], 0.0), None
    for second in range(0, seconds, 10):
        now = scene(rooms, placed, now_s=float(second))
        found = builds(now, served, waiting, needed={"a": len(placed)}, waiting=held, at_most=at_most)
        held = found.waiting
        assert not found.evicted, "it is worth no refused query"
        if found.places:
            return found, float(second)
    return found, float(seconds)


@pytest.mark.parametrize("at_most", [0, 1])
def test_a_larger_variant_of_a_model_under_load_has_starved_and_is_built_as_soon_as_there_is_room(at_most):
    """One core of two is needed all the time, so two are never free: the larger variant would wait as long as the load lasts."""
    served, larger = planned(cores=1, state="ready"), planned(cores=2)
    found, now_s = under_load(served, larger, [room()], at_most=at_most)
    assert (found.places, set(found.waiting)) == (frozenset(), {larger.variant})
    assert starved(found, ANY_AFTER_S - 1.0) == ()
    assert starved(found, now_s) == (larger.variant,)
    rooms = [room(), room("machine")]
    now = scene(rooms, {("w", "a"): 1}, now_s=now_s)
    come = builds(now, served, larger, needed={"a": 1}, waiting=found.waiting, at_most=at_most)
    assert (come.places, starved(come, now_s)) == ({("machine", larger.variant)}, ())


def test_a_build_that_has_starved_asks_for_a_machine_of_those_that_could_hold_it():
    now = scene([room()], {("w", "a"): 1})
    for names, orders in (((), []), (("new.v1.onnxruntime-cpu2-fp32",), [AddMachine])):
        todo, _ = decide(now, Park(builds_waiting=1, builds_starved=names), {}, at_most=1, quiet_since={})
        assert [type(order) for order in todo] == orders
