"""Where instances run: what serves does not go for what finds no room."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from infaas.scaler.greedy import Memory, decide
from infaas.scaler.headroom import SLACK, served
from infaas.scaler.placement import make_do, place
from infaas.scaler.snapshot import DemandClass, Room, Snapshot
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.servable import Servable

hypothesis_settings.register_profile("quick", max_examples=60, deadline=None)
hypothesis_settings.load_profile("quick")
PATIENT_MS = 5_000.0


def servable(name, ms, cost, *, accuracy=0.9, cores=1, load_ms=100.0):
    points = (BatchPoint(batch=1, p50_ms=ms, p99_ms=ms),)
    found = Profile(load_ms=load_ms, peak_memory_bytes=100, accuracy=accuracy, points=points, slope=0, intercept=ms)
    return Servable(name, "app", found, cost, "cpu", cores)


def scene(variants, classes, rooms, placed, active=None, avoid=()):
    return Snapshot(
        0.0,
        tuple(DemandClass(tuple(sorted(eligible)), PATIENT_MS, "cost", rate) for eligible, rate in classes),
        {v.variant: v for v in variants},
        {f"w{n}": Room(f"w{n}", ("cpu",), cores, 10_000) for n, cores in enumerate(rooms)},
        placed,
        count(placed) if active is None else active,
        avoid=frozenset(avoid),
    )


def count(placed):
    out = {}
    for (_, variant), n in placed.items():
        out[variant] = out.get(variant, 0) + n
    return {v: n for v, n in out.items() if n}


def takes(now, fleet):
    """Queries/s of the load that a fleet takes."""
    return served([(c.rate, options) for c in now.classes if (options := now.options(c))], fleet, SLACK)


COMMITTEE = servable("committee", 12, 2.0, accuracy=0.99, cores=2)
MLP = [servable("mlp-int8", 2, 1.0), servable("mlp-fp32", 1, 0.9)]


def test_what_serves_does_not_go_for_a_larger_one_and_a_substitute_that_then_finds_no_room():
    """In the demo a second committee of two cores pushed out the only variant of those who are not so particular: 346 were lost."""
    now = scene(
        [COMMITTEE, *MLP],
        [(["committee"], 90.0), (["mlp-int8", "mlp-fp32"], 170.0)],
        [2, 2],
        {("w0", "committee"): 1, ("w1", "mlp-int8"): 1},
    )
    target, _ = decide(now, Memory())
    plan = place(now, {**target.fleet, "mlp-fp32": 1, "committee": 2}, {"committee": 2, "mlp-fp32": 1})
    assert takes(now, count(plan.placed)) >= takes(now, now.active)
    assert plan.placed["w1", "mlp-int8"] == 1


def test_of_what_does_not_all_fit_that_is_placed_which_serves_most():
    """The biggest came first: two committees for few, and nothing for all the others."""
    now = scene([COMMITTEE, *MLP], [(["committee"], 90.0), (["mlp-fp32"], 170.0)], [2, 2], {})
    plan = place(now, {"committee": 2, "mlp-fp32": 1}, {"committee": 2, "mlp-fp32": 1})
    assert count(plan.placed) == {"committee": 1, "mlp-fp32": 1}
    assert plan.unplaced == {"committee": 1}


def test_what_serves_makes_room_where_all_are_served_afterwards_and_not_otherwise():
    small, both = servable("small", 10, 1.0), servable("both", 2, 3.0, cores=2)
    now = scene([small, both], [(["small", "both"], 50.0), (["both"], 50.0)], [2], {("w0", "small"): 1})
    assert count(place(now, {"small": 1, "both": 1}, {"both": 1}).placed) == {"both": 1}
    more = scene([small, both], [(["small"], 50.0), (["both"], 50.0)], [2], {("w0", "small"): 1})
    assert count(place(more, {"small": 1, "both": 1}, {"both": 1}).placed) == {"small": 1}


def test_who_leaves_a_worker_to_avoid_keeps_the_room_it_leaves_for():
    """It had given up its place before a larger one took the room it was to have."""
    now = scene(
        [COMMITTEE, *MLP],
        [(["committee"], 10.0), (["mlp-fp32"], 170.0)],
        [1, 2],
        {("w0", "mlp-fp32"): 1},
        avoid=[("w0", "mlp-fp32")],
    )
    plan = place(now, {"committee": 1, "mlp-fp32": 1}, {"committee": 1, "mlp-fp32": 1})
    assert count(plan.placed)["mlp-fp32"] == 1


def test_two_that_leave_workers_to_avoid_do_not_count_on_the_same_room():
    placed = {("w0", "mlp-fp32"): 1, ("w0", "mlp-int8"): 1}
    now = scene(MLP, [(["mlp-fp32"], 170.0), (["mlp-int8"], 100.0)], [2, 1], placed, avoid=list(placed))
    plan = place(now, {"mlp-fp32": 1, "mlp-int8": 1}, {"mlp-fp32": 1, "mlp-int8": 1})
    assert count(plan.placed) == {"mlp-fp32": 1, "mlp-int8": 1}


names = ["a", "b", "c", "d"]


@st.composite
def cells(draw):
    """A few variants on a few workers, a load, and something that runs."""
    variants = [
        servable(name, draw(st.sampled_from([2, 5, 10, 30])), draw(st.sampled_from([1.0, 2.0, 3.0])), cores=draw(st.integers(1, 2)))
        for name in names
    ]  # fmt: skip
    classes = draw(
        st.lists(
            st.tuples(st.sets(st.sampled_from(names), min_size=1), st.floats(1, 300)), min_size=1, max_size=3
        )
    )  # fmt: skip
    rooms = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    placed, left = {}, dict(enumerate(rooms))
    for worker, variant in draw(
        st.lists(st.tuples(st.integers(0, len(rooms) - 1), st.sampled_from(variants)), max_size=6)
    ):
        if left[worker] >= variant.cores:
            left[worker] -= variant.cores
            placed[f"w{worker}", variant.variant] = placed.get((f"w{worker}", variant.variant), 0) + 1
    return scene(variants, classes, rooms, placed)


@given(cells(), st.data())
def test_a_plan_never_serves_less_than_what_runs(now, data):
    fleet = count(now.placed)
    for variant, n in data.draw(st.dictionaries(st.sampled_from(names), st.integers(1, 3))).items():
        fleet[variant] = max(fleet.get(variant, 0), n)
    needed = data.draw(st.dictionaries(st.sampled_from(names), st.integers(1, 3)))
    needed = {v: min(n, fleet.get(v, 0)) for v, n in needed.items() if fleet.get(v)}
    plan = place(now, fleet, needed)
    before, after = takes(now, now.active), takes(now, count(plan.placed))
    assert after >= before - 0.01 * max(1.0, before)
    stays = {v: min(n, now.active.get(v, 0)) for v, n in count(plan.placed).items()}
    everything = SLACK * sum(c.rate for c in now.classes)
    if takes(now, stays) < before - 0.01 * max(1.0, before):
        assert after == pytest.approx(everything), "what served was interrupted, and not all is served now"


def test_what_no_worker_can_hold_keeps_nobody_from_being_served():
    """The cheapest fleet was of two cores, no worker had them, and nothing ran at all."""
    cheap, small = servable("cheap", 5, 1.0, cores=2), servable("small", 10, 1.0)
    now = scene([cheap, small], [(["cheap", "small"], 50.0)], [1], {})
    target, _ = decide(now, Memory())
    wanted = place(now, target.fleet, target.needed)
    assert (wanted.placed, wanted.unplaced) == ({}, {"cheap": 1})
    plan = make_do(now, wanted)
    assert plan.placed == {("w0", "small"): 1}
    assert plan.unplaced == {"cheap": 1}, "a machine that could hold it is still asked for"


def at_rest(now):
    """What is placed, second by second, while the load is the same."""
    memory, placed = Memory(), [dict(now.placed)]
    for second in range(30):
        seen = replace(now, now_s=float(second), placed=placed[-1], active=count(placed[-1]))
        target, memory = decide(seen, memory)
        placed.append(dict(make_do(seen, place(seen, target.fleet, target.needed)).placed))
    return placed


@given(cells())
def test_while_the_load_is_the_same_no_less_of_it_is_served_in_the_end_and_it_comes_to_rest(now):
    placed = at_rest(now)
    best = 0.0
    for one in placed:
        assert takes(now, count(one)) >= best - 0.01 * max(1.0, best)
        best = max(best, takes(now, count(one)))
    assert placed[-1] == placed[-2]


@given(cells())
def test_nobody_is_refused_beside_room_for_what_could_answer(now):
    placed = at_rest(now)[-1]
    fleet, everything = count(placed), SLACK * sum(c.rate for c in now.classes)
    for variant in now.variants.values():
        taken = {w: sum(now.variants[v].cores * n for (where, v), n in placed.items() if where == w) for w in now.rooms}
        if any(room.cores - taken[w] >= variant.cores for w, room in now.rooms.items()):
            more = {**fleet, variant.variant: fleet.get(variant.variant, 0) + 1}
            assert takes(now, more) <= takes(now, fleet) + 0.01 * everything
