"""The scaler's pure policies: the seed's table to the dollar, and what must hold for any load."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from infaas.policy.capacity import capacity
from infaas.policy.usable import usable_rate
from infaas.scaler.demand import Demand
from infaas.scaler.fill import Option, fill, useful
from infaas.scaler.greedy import BAND, HOLD_S, Memory, best_fleet, decide
from infaas.scaler.headroom import SLACK, headroom, leftover
from infaas.scaler.liveness import Liveness
from infaas.scaler.machines import COMING_S, AddMachine, DrainMachine, Park, StopMachine
from infaas.scaler.machines import decide as decide_machines
from infaas.scaler.optimum import optimum
from infaas.scaler.partitions import assign
from infaas.scaler.placement import place
from infaas.scaler.snapshot import DemandClass, Room, Snapshot
from infaas.scaler.usage import machine_seconds
from infaas.schemas.metadata import Hardware, Machine, Owner, Ownership, Worker
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.reports import ClassCount, RouterReport
from infaas.schemas.servable import Servable
from infaas.store.view import View

hypothesis_settings.register_profile("quick", max_examples=60, deadline=None)
hypothesis_settings.load_profile("quick")

# Latency in ms, queries/s and USD/s, all of them given.
SEEDS_VARIANTS = {"A": (200, 5, 1), "B": (20, 100, 3), "C": (15, 800, 16)}
SEED = [
    pytest.param(10, 300, {"A": 2}, 2, id="10 a second within 300 ms"),
    pytest.param(10, 50, {"B": 1}, 3, id="10 a second within 50 ms"),
    pytest.param(1000, 300, {"B": 2, "C": 1}, 22, id="1000 a second within 300 ms"),
]


def seeds_options(latency_ms):
    """What the policy takes for able, from the table as it stands."""
    out = []
    for name, (ms, rate, cost) in SEEDS_VARIANTS.items():
        points = (BatchPoint(batch=1, p50_ms=ms, p99_ms=ms, given_rate=rate),)
        measured = Profile(load_ms=1, peak_memory_bytes=1, accuracy=1, points=points, slope=ms, intercept=0)
        taken = capacity(measured, latency_ms)
        if taken > 0:
            out.append(Option(name, taken, cost))
    return out


@pytest.mark.parametrize(("load", "latency_ms", "expected", "cost"), SEED)
def test_the_seeds_table_to_the_dollar(load, latency_ms, expected, cost):
    options = seeds_options(latency_ms)
    found = fill(load, options)
    assert found == expected
    prices = {o.variant: o.cost_per_hour for o in options}
    assert sum(prices[v] * n for v, n in found.items()) == cost
    assert best_fleet([(load, options)], 1.0) == expected
    assert optimum([(load, options)]) == expected


options = st.lists(
    st.tuples(st.floats(1, 500), st.floats(0.01, 20)), min_size=1, max_size=6
).map(lambda found: [Option(f"v{i}", q, c) for i, (q, c) in enumerate(found)])  # fmt: skip


@given(st.floats(0.1, 5000), options)
def test_a_fill_holds_the_load_with_what_is_not_dominated_in_whatever_order_it_comes(load, found):
    fleet = fill(load, found)
    capacity = {o.variant: o.capacity for o in found}
    assert sum(capacity[v] * n for v, n in fleet.items()) >= load * (1 - 1e-6)
    assert set(fleet) <= {o.variant for o in useful(found)}
    assert fleet == fill(load, list(reversed(found)))


@given(st.floats(0.1, 5000), options)
def test_a_fill_is_never_cheaper_than_the_optimum_and_at_most_an_instance_of_the_cheapest_more_expensive(load, found):
    prices = {o.variant: o.cost_per_hour for o in found}
    greedy = sum(prices[v] * n for v, n in fill(load, found).items())
    best = sum(prices[v] * n for v, n in optimum([(load, found)]).items())
    assert best <= greedy * (1 + 1e-6) + 1e-6
    # The optimum pays at least the lowest price of a query for each, and of that variant one instance is broken at most.
    cheapest = min(found, key=lambda o: o.per_query)
    assert greedy <= best + cheapest.cost_per_hour * (1 + 1e-6) + 1e-6


@given(st.lists(st.tuples(st.floats(0.1, 300), options), min_size=1, max_size=4))
def test_the_best_fleet_holds_all_classes_with_slack(classes):
    fleet = best_fleet(classes, SLACK)
    assert not leftover(classes, fleet, SLACK * (1 - 1e-6))
    assert headroom(classes, fleet) >= SLACK * 0.999


@given(st.floats(1, 300), options, st.integers(1, 5))
def test_headroom_falls_with_load_and_grows_with_instances(load, found, count):
    fleet = {found[0].variant: count}
    here = headroom([(load, found)], fleet)
    assert headroom([(load * 2, found)], fleet) == pytest.approx(here / 2, rel=1e-3)
    assert headroom([(load, found)], {found[0].variant: count + 1}) >= here * 0.999
    assert headroom([], fleet) == math.inf
    assert headroom([(load, found)], {}) == 0.0


@st.composite
def pooled_options(draw):
    out = []
    for n in range(draw(st.integers(1, 4))):
        first, more = draw(st.floats(1, 100)), sorted(draw(st.lists(st.floats(1, 10), max_size=3)))
        pooled = tuple((count, first * by) for count, by in zip((2, 3, 6), more, strict=False))
        beside = ((1, first * draw(st.floats(1, 10))),)
        out.append(Option(f"v{n}", first, draw(st.floats(0.1, 10)), pooled, beside))
    return out


@given(pooled_options(), st.floats(0.1, 3000), st.integers(0, 8))
def test_enough_instances_of_a_pool_are_enough_and_one_less_is_not(found, load, base):
    option = found[0]
    count = option.enough(load, base)
    assert option.more(count, base) >= load * (1 - 1e-6)
    assert count == 1 or option.more(count - 1, base) < load * (1 + 1e-6)


@given(pooled_options(), st.floats(0.1, 1000))
def test_a_fill_and_the_optimum_of_pools_hold_the_load(found, load):
    prices = {o.variant: o.cost_per_hour for o in found}
    greedy, best = fill(load, found), optimum([(load, found)])
    for fleet in (greedy, best):
        assert headroom([(load, found)], fleet) >= 0.999
    assert sum(prices[v] * n for v, n in best.items()) <= sum(prices[v] * n for v, n in greedy.items()) + 1e-3


@given(st.lists(st.tuples(st.floats(0.1, 300), pooled_options()), min_size=1, max_size=4))
def test_the_best_fleet_of_pools_holds_all_classes_with_slack(classes):
    assert headroom(classes, best_fleet(classes, SLACK)) >= SLACK * 0.999


def test_patient_ones_count_by_what_is_under_way_and_those_in_a_hurry_in_full():
    hurried = Option("v", 10.0, 1.0, (), ((1, 40.0),))
    patient = Option("v", 100.0, 1.0)
    assert headroom([(5.0, [hurried]), (20.0, [patient])], {"v": 1}) == pytest.approx(1.0, rel=1e-4)
    assert headroom([(5.0, [patient]), (20.0, [hurried])], {"v": 1}) == pytest.approx(1 / 2.125, rel=1e-4)
    assert headroom([(0.0, [hurried]), (20.0, [patient])], {"v": 1}) == pytest.approx(5.0, rel=1e-4)


def test_a_class_with_nothing_usable_runs_on_what_is_at_least_not_late_by_itself_most_of_the_time():
    points = (BatchPoint(batch=1, p50_ms=33.0, p99_ms=58.0),)
    found = Profile(load_ms=1, peak_memory_bytes=1, accuracy=1, points=points, slope=0, intercept=33)
    late = Servable("late", "app", found, 1.0, "cpu", 1)
    now = Snapshot(0.0, variants={"late": late, **VARIANTS})
    assert [o.variant for o in now.options(DemandClass(("late",), 60.0, "cost", 1.0))] == ["late"]
    assert [o.variant for o in now.options(DemandClass(("late", "small"), 60.0, "cost", 1.0))] == ["small"]
    assert now.options(DemandClass(("late",), 57.0, "cost", 1.0)) == []


def servable(name, ms, cost, *, accuracy=0.9, cores=1, memory=100, load_ms=100.0):
    points = (BatchPoint(batch=1, p50_ms=ms, p99_ms=ms),)
    found = Profile(load_ms=load_ms, peak_memory_bytes=memory, accuracy=accuracy, points=points, slope=0, intercept=ms)
    return Servable(name, "app", found, cost, "cpu", cores)


VARIANTS = {"small": servable("small", 10, 1.0), "exact": servable("exact", 20, 3.0, accuracy=0.99)}
ROOMS = {f"w{n}": Room(f"w{n}", ("cpu",), 4, 1000) for n in range(2)}


def scene(rate, now_s=0.0, placed=None, *, wish="cost", eligible=("exact", "small"), active=None, wanted=(), avoid=()):
    placed = placed or {}
    fleet = {}
    for (_, v), n in placed.items():
        fleet[v] = fleet.get(v, 0) + n
    classes = (DemandClass(tuple(eligible), 100.0, wish, rate),) if rate else ()
    return Snapshot(
        now_s,
        classes,
        VARIANTS,
        ROOMS,
        placed,
        fleet if active is None else active,
        frozenset(wanted),
        frozenset(avoid),
    )


def run(rates, *, step_s=1.0, placed=None):
    """Ticks through a load; returns the fleets."""
    memory, out, placed = Memory(), [], dict(placed or {})
    for n, rate in enumerate(rates):
        now = scene(rate, n * step_s, placed)
        target, memory = decide(now, memory)
        placed = dict(place(now, target.fleet, target.needed).placed)
        out.append(dict(target.fleet))
    return out


def moves(fleets, variant):
    counts = [f.get(variant, 0) for f in fleets]
    ups = sum(max(0, b - a) > 0 for a, b in itertools.pairwise(counts))
    downs = sum(max(0, a - b) > 0 for a, b in itertools.pairwise(counts))
    return ups, downs


def test_below_the_slack_it_acts_at_once_and_idleness_ends_in_nothing():
    fleets = run([50] * 3 + [150] * 3 + [0] * 60)
    assert fleets[0] == {"small": 1}
    assert fleets[3] == {"small": 2}
    assert fleets[-1] == {}


def test_who_wants_accuracy_gets_the_most_accurate():
    target, _ = decide(scene(30, wish="accuracy"), Memory())
    assert set(target.fleet) == {"exact"}


def test_what_is_wanted_and_does_not_run_is_started():
    target, _ = decide(scene(0, wanted=("exact",)), Memory())
    assert target.fleet == {"exact": 1}


@pytest.mark.parametrize(("work_s", "gone_s"), [(0, 0), (5, 5), (1000, HOLD_S)], ids=["none", "some", "without end"])
def test_the_last_instance_waits_for_a_moment_without_work_and_not_for_ever(work_s, gone_s):
    """Gone with work on its way it was wanted back in the same second: unloaded and loaded again, for nothing."""
    memory, placed = Memory(), {("w0", "small"): 1}
    for second in range(60):
        busy = frozenset({"small"} if second < HOLD_S + work_s else ())
        target, memory = decide(replace(scene(0, float(second), placed), busy=busy), memory)
        if not target.fleet:
            break
    assert second == HOLD_S + gone_s


def test_work_on_its_way_keeps_the_last_instance_and_no_more():
    memory, placed = Memory(), {("w0", "small"): 3}
    for second in range(int(HOLD_S) + 2):
        busy = replace(scene(40, float(second), placed), busy=frozenset({"small"}))
        target, memory = decide(busy, memory)
        placed = dict(place(busy, target.fleet, target.needed).placed)
    assert placed == {("w0", "small"): 1}


def test_a_square_wave_moves_at_most_once_up_and_once_down_a_period():
    period = [40] * 40 + [180] * 40
    fleets = run(period * 3)
    ups, downs = moves(fleets[1:], "small")
    assert ups <= 3
    assert downs <= 3


@given(st.integers(0, 2**32))
def test_noise_at_a_threshold_causes_at_most_one_move_up_and_none_down(seed):
    """Noise is drawn, not chosen: a lull of ten seconds is a lull, and ends in a move down."""
    draw = random.Random(seed)
    threshold = usable_rate(VARIANTS["small"].profile, 100.0) / SLACK  # what one instance takes, and not a query more
    fleets = run([threshold * 0.99] + [threshold * draw.uniform(0.8, 1.2) for _ in range(120)])
    assert fleets[0] == {"small": 1}
    assert moves(fleets, "small") == (1, 0)


def test_a_lull_below_the_band_ends_in_a_move_down():
    threshold = usable_rate(VARIANTS["small"].profile, 100.0) / SLACK
    fleets = run([threshold * 1.2] * 3 + [threshold / BAND * 0.98] * (int(HOLD_S) + 3))
    assert moves(fleets, "small") == (0, 1)
    assert moves(run([threshold * 1.2] * 3 + [threshold / BAND * 1.02] * 30), "small") == (0, 0)


@given(st.floats(1, 700), st.floats(1, 700))
def test_more_load_never_means_fewer_instances_cost(low, more):
    one, _ = decide(scene(low), Memory())
    two, _ = decide(scene(low + more), Memory())
    assert scene(0).cost(two.fleet) >= scene(0).cost(one.fleet) - 1e-9


@given(
    st.dictionaries(st.sampled_from(["small", "exact"]), st.integers(0, 6)),
    st.dictionaries(st.sampled_from(["small", "exact"]), st.integers(0, 6)),
)
def test_placement_never_promises_more_than_there_is_and_loses_nothing(before, fleet):
    placed = {}
    for variant, count in before.items():
        for n in range(min(count, 3)):
            placed[f"w{n % 2}", variant] = placed.get((f"w{n % 2}", variant), 0) + 1
    now = scene(0, placed=placed)
    plan = place(now, fleet, fleet)
    for worker, room in ROOMS.items():
        assert sum(n * VARIANTS[v].cores for (w, v), n in plan.placed.items() if w == worker) <= room.cores
    for variant, count in fleet.items():
        there = sum(n for (_, v), n in plan.placed.items() if v == variant)
        assert there + plan.unplaced.get(variant, 0) == count
    assert not {v for _, v in plan.placed} - {v for v, n in fleet.items() if n}
    assert place(now, fleet, fleet) == plan


def test_what_the_load_needs_pushes_out_what_it_does_not():
    placed = {("w0", "small"): 4, ("w1", "small"): 4}
    plan = place(scene(0, placed=placed), {"small": 8, "exact": 1}, {"exact": 1, "small": 2})
    assert sum(n for (_, v), n in plan.placed.items() if v == "exact") == 1


def test_what_is_pushed_out_is_what_those_that_run_can_do_without():
    placed = {("w0", "exact"): 1, ("w0", "small"): 3, ("w1", "idle"): 4}
    now = replace(
        scene(250, placed=placed, active={"exact": 1, "small": 3, "idle": 4}),
        variants={**VARIANTS, "idle": servable("idle", 10, 1.0), "new": servable("new", 10, 1.0)},
    )
    plan = place(now, {"exact": 1, "small": 3, "idle": 4, "new": 1}, {"new": 1})
    assert plan.placed == {("w0", "exact"): 1, ("w0", "small"): 3, ("w1", "idle"): 3, ("w1", "new"): 1}


def test_what_has_no_work_is_pushed_out_before_the_last_instance_of_what_has():
    variants = {name: servable(name, 10, 1.0) for name in ("a-busy", "z-idle", "new")}
    room = {"w0": Room("w0", ("cpu",), 2, 1000)}
    placed = {("w0", "a-busy"): 1, ("w0", "z-idle"): 1}
    now = replace(scene(0, placed=placed), variants=variants, rooms=room, busy=frozenset({"a-busy"}))
    plan = place(now, {"a-busy": 1, "z-idle": 1, "new": 1}, {"new": 1})
    assert plan.placed == {("w0", "a-busy"): 1, ("w0", "new"): 1}


def test_of_what_costs_the_same_that_is_started_which_more_callers_can_use():
    quick, good, exact = Option("quick", 1e6, 1.0), Option("a-good", 1e5, 1.0), Option("z-exact", 50.0, 1.0)
    anybody, careful, picky = [quick, good, exact], [good, exact], [exact]
    fleet = best_fleet([(90.0, anybody), (10.0, careful), (20.0, picky)], SLACK, {"z-exact": 1})
    assert fleet == {"z-exact": 1, "a-good": 1}


def test_of_what_costs_the_same_that_goes_which_is_missed_least():
    """`a` serves both callers, `b` only one of them: either could go, and only of `b` nobody would notice."""
    variants = {
        "a": servable("a", 1, 1.0),
        "b": servable("b", 1, 1.0),
        "exact": servable("exact", 10, 1.0, accuracy=0.99),
    }
    classes = (
        DemandClass(("a", "b", "exact"), 100.0, "cost", 30.0),
        DemandClass(("a", "exact"), 100.0, "cost", 20.0),
        DemandClass(("exact",), 100.0, "cost", 40.0),
    )
    placed, memory = {("w0", "a"): 1, ("w0", "b"): 1, ("w1", "exact"): 1}, Memory()
    for second in range(30):
        fleet = {v: n for (_, v), n in placed.items()}
        now = Snapshot(float(second), classes, variants, ROOMS, placed, fleet)
        target, memory = decide(now, memory)
        if dict(target.fleet) != fleet:
            break
    assert set(target.fleet) == {"a", "exact"}


def test_a_worker_to_avoid_is_left():
    now = scene(0, placed={("w0", "small"): 1}, avoid=[("w0", "small")])
    assert place(now, {"small": 1}, {"small": 1}).placed == {("w1", "small"): 1}


def test_where_all_instances_failed_nothing_stays_although_there_is_no_other_room():
    now = replace(
        scene(0, placed={("w0", "small"): 1}, avoid=[("w0", "small"), ("w1", "small")]),
        failed=frozenset({("w0", "small")}),
    )
    assert place(now, {"small": 1}, {"small": 1}).placed == {}
    assert place(now, {"small": 1}, {"small": 1}).unplaced == {"small": 1}


def owner(n, worker="w"):
    return Owner(worker=f"{worker}{n}", boot_id="b", instance=0)


@given(st.integers(1, 16), st.integers(0, 6), st.integers(0, 6))
def test_every_partition_has_an_owner_the_spread_is_even_and_little_moves(partitions, before, after):
    old = assign((), partitions, [owner(n) for n in range(before)])
    new = assign(old, partitions, [owner(n) for n in range(after)])
    if not after:
        assert all(one.owner is None for one in new)
        assert [one.previous for one in new] == [one.owner for one in old]
        return
    counts = [sum(one.owner == owner(n) for one in new) for n in range(after)]
    assert sum(counts) == partitions
    assert max(counts) - min(counts) <= 1
    stay = sum(a.owner == b.owner for a, b in zip(old, new, strict=True))
    if before and after <= before:
        least = partitions // before
        assert stay >= min(after, before) * least
    assert all(one.previous == o.owner for one, o in zip(new, old, strict=True) if one.owner != o.owner and o.owner)
    assert assign(new, partitions, [owner(n) for n in range(after)]) == new


def test_a_partition_its_owner_refuses_goes_to_another_worker():
    old = assign((), 2, [owner(0)])
    new = assign(old, 2, [owner(0), owner(1)], stuck=frozenset({0}))
    assert new[0].owner == owner(1)
    assert assign(old, 2, [owner(0)], stuck=frozenset({0}))[0] == Ownership(owner=owner(0))


def ticking(live, start, end):
    t = start
    while t <= end:
        live.tick(round(t, 3))
        t += 0.2


def test_silence_is_death_but_not_while_the_leader_was_itself_held_up():
    live = Liveness()
    for name in ("a", "b", "c"):
        live.hear(name, 0.0)
    ticking(live, 0.0, 10.0)
    live.hear("b", 9.5)
    live.hear("c", 9.5)
    workers = {"wa": "a", "wb": "b", "wc": "c"}
    assert live.dead(workers) == ["wa"]
    live.tick(14.0)  # four seconds without a tick: it was us
    assert live.dead(workers) == []
    ticking(live, 14.2, 17.2)
    live.hear("b", 17.0)
    live.hear("c", 17.0)
    assert live.dead(workers) == ["wa"]


def test_when_most_fall_silent_at_once_it_waits_longer():
    live = Liveness()
    for name in ("a", "b"):
        live.hear(name, 0.0)
    ticking(live, 0.0, 9.0)
    assert live.dead({"wa": "a", "wb": "b"}) == []
    ticking(live, 9.2, 10.4)
    assert live.dead({"wa": "a", "wb": "b"}) == ["wa", "wb"]


def count(offered, latency=50.0, eligible=("small",)):
    return ClassCount(scope="application", name="app", eligible=eligible, latency_ms=latency, offered=offered)


def report(sequence, *classes, boot="r"):
    return RouterReport(router="r", boot_id=boot, member_id="m", sequence=sequence, view_offset=0, classes=classes)


def test_demand_is_a_rate_over_a_window_and_a_silent_router_counts_no_more():
    demand = Demand()
    for n in range(9):
        demand.report(report(n + 1, count(50 * n)), n * 0.5)
    (found,) = demand.classes(4.0)
    assert found.rate == pytest.approx(100.0)
    assert demand.classes(20.0) == ()


def test_a_machine_is_added_when_nothing_fits_and_given_back_when_it_could_be_spared():
    now = scene(0)
    todo, _ = decide_machines(now, Park(), {"small": 1}, at_most=1, quiet_since={})
    assert [type(one) for one in todo] == [AddMachine]
    coming = Park(machines={"m": Machine(machine="m", machine_type="t", wanted="running")}, since={"m": 0.0})
    assert decide_machines(now, coming, {"small": 1}, at_most=2, quiet_since={})[0] == []
    there = Snapshot(
        100.0, rooms={**ROOMS, "m": Room("m", ("cpu",), 4, 1000, 1.0)}, variants=VARIANTS, placed={("m", "small"): 1}
    )
    came = replace(coming, live=frozenset({"m"}), came=frozenset({"m"}))
    todo, quiet = decide_machines(there, came, {}, at_most=2, quiet_since={"m": 0.0})
    assert [type(one) for one in todo] == [DrainMachine]
    drained = Park(machines={"m": coming.machines["m"].model_copy(update={"wanted": "drained"})})
    assert decide_machines(scene(0), drained, {}, at_most=2, quiet_since={})[0] == [StopMachine("m", "it is empty")]
    assert quiet == {}


@pytest.mark.parametrize(
    ("now_s", "came", "lost"),
    [
        pytest.param(1.0, False, False, id="it is coming"),
        pytest.param(COMING_S, False, True, id="it never came"),
        pytest.param(1.0, True, True, id="it came and died"),
    ],
)
def test_a_machine_without_a_worker_counts_only_while_it_may_still_come(now_s, came, lost):
    machines = {"m": Machine(machine="m", machine_type="t", wanted="running", provider_id="1")}
    park = Park(machines=machines, since={"m": 0.0}, came=frozenset({"m"} if came else ()))
    now = replace(scene(0), now_s=now_s)
    todo, _ = decide_machines(now, park, {"small": 1}, at_most=1, quiet_since={})
    assert [type(order) for order in todo] == ([StopMachine] if lost else [])
    if lost:
        todo, _ = decide_machines(now, Park(), {"small": 1}, at_most=1, quiet_since={})
        assert [type(order) for order in todo] == [AddMachine]


@given(st.integers(0, 8), st.integers(0, 4), st.floats(0.1, 100))
def test_the_parts_of_the_bill_never_exceed_the_machine(small, exact, seconds):
    workers = {
        "w0": Worker(
            worker="w0",
            boot_id="b",
            machine_type="t",
            hardware=Hardware(cores=4, memory_bytes=1000),
            price_per_hour=1.0,
        )
    }
    view = View(0, 0, {"worker": {w.key: w for w in workers.values()}}, {})
    now = replace(scene(0), placed={("w0", "small"): small, ("w0", "exact"): exact})
    (bill,) = machine_seconds(view, now, seconds=seconds, at_ms=0)
    assert bill.seconds == seconds
    assert sum(bill.by_variant.values()) <= seconds * (1 + 1e-9)
    assert all(share >= 0 for share in bill.by_variant.values())


@given(st.floats(0.1, 50), st.floats(1, 1000), st.floats(1, 1000))
def test_usable_rate_is_below_capacity_and_grows_with_the_objective(ms, one, other):
    points = tuple(BatchPoint(batch=b, p50_ms=ms * (0.5 + b / 2), p99_ms=ms * (0.6 + b / 2)) for b in (1, 2, 4, 8))
    found = Profile(load_ms=1, peak_memory_bytes=1, accuracy=1, points=points, slope=ms / 2, intercept=ms / 2)
    low, high = sorted((one, other))
    assert usable_rate(found, low) <= usable_rate(found, high) <= capacity(found, None)
    assert usable_rate(found, low) <= capacity(found, low) * (1 + 1e-9)
    assert usable_rate(found, None) == capacity(found, None)
