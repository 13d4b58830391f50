"""Which variant and instance answers a query: never outside the objective, whatever runs; the best of what makes it in time."""

import math
from dataclasses import replace

import pytest
from candidates import candidate, catalogue, profile, variant
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infaas.policy.capacity import capacity
from infaas.policy.fits import OVERHEAD_MS
from infaas.policy.price import query_cost
from infaas.router.lineup import Lineup
from infaas.router.policy import Dispatch, NotYet, Plan, Query, Ranked, Reject, Scene, select
from infaas.router.running import RunningAt
from infaas.schemas.headers import Objective
from infaas.schemas.servable import Servable

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

NAMES = [f"a{i}.v1.onnxruntime-cpu1-fp32" for i in range(5)]


def choose(variants, scene, query, salt="q-0-1"):
    return select(catalogue(variants).plan(query.objective), scene, query, salt)


def ranked(variants, name, objective):
    return Ranked.of(candidate(variants, name), objective)


# Few distinct values, so that ties and limits that are hit exactly come often.
times = st.sampled_from([0.5, 1.0, 2.0, 5.0, 20.0])
accuracies = st.sampled_from([0.5, 0.8, 0.9, 0.99])
profiles = st.builds(
    profile, times, st.sampled_from([2.0, 5.0, 20.0, 50.0]), st.sampled_from([2.0, 4.0, 7.5]), accuracy=accuracies
)
running = st.builds(
    RunningAt,
    worker=st.sampled_from(["w", "w1", "w2"]),
    instance=st.integers(0, 12),
    condition=st.sampled_from(["active", "active", "overloaded", "interfered"]),
    backlog=st.integers(0, 60),
    query_ms=times,
    slowdown=st.sampled_from([0.5, 1.0, 3.0]),
    partitions=st.just((0,)),
)
not_yet = st.builds(
    NotYet, st.sampled_from([0.0, 10.0, 500.0]), st.integers(0, 20), starting=st.booleans(), placeable=st.booleans()
)
booleans = st.booleans()
states = st.lists(running, min_size=1, max_size=4, unique_by=lambda i: (i.worker, i.instance)) | not_yet


@st.composite
def worlds(draw):
    names = draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True))
    variants = [variant(n, draw(profiles), draw(st.sampled_from([0.01, 0.1, 1.0]))) for n in names]
    found = {n: draw(states) for n in names}
    scene = Scene(
        {n: Lineup.of(s) for n, s in found.items() if isinstance(s, list)},
        {n: s for n, s in found.items() if isinstance(s, NotYet)},
    )
    return variants, scene


@st.composite
def queries(draw, strict=booleans):
    latency = draw(st.sampled_from([None, 1.0, 5.0, 20.0, 60.0, 400.0, 5000.0]))
    objective = Objective(
        "application",
        "app",
        latency_ms=latency,
        min_accuracy=draw(st.sampled_from([0.0, 0.8, 0.9, 0.95, 1.0])),
        max_cost=draw(st.sampled_from([math.inf, 1e-5, 1e-4, 1e-3])),
        optimize=draw(st.sampled_from(["cost", "accuracy", "latency"])),
        strict=draw(strict),
    )
    budget = math.inf if latency is None else latency * draw(st.sampled_from([1.0, 0.8]))
    excluded = frozenset(draw(st.lists(st.sampled_from(NAMES), max_size=2)))
    return Query(objective, budget, excluded, late_budget_ms=math.inf if latency is None else 10 * latency)


def there(scene, name):
    return scene.running[name].at(0.0)


def within(variants, query):
    """What may serve a strict query: found without the code under test."""
    objective = query.objective
    return {
        v.variant
        for v in variants
        if v.variant not in query.excluded
        and v.profile.accuracy >= objective.min_accuracy
        and query_cost(candidate(variants, v.variant), objective.latency_ms) <= objective.max_cost
    }


def soonest(variants, scene, name):
    """When a variant could answer at best; infinite if it can't run."""
    found = next(v.profile for v in variants if v.variant == name)
    if name in scene.running:
        return min(i.backlog * i.query_ms + found.latency_ms(1) * i.slowdown + OVERHEAD_MS for i in there(scene, name))
    state = scene.not_yet[name]
    if not state.placeable:
        return math.inf
    return state.ready_in_ms + state.waiting * (1000.0 / capacity(found, None)) + found.latency_ms(1) + OVERHEAD_MS


def makes(variants, scene, name, budget_ms):
    return not math.isinf(soonest(variants, scene, name)) and soonest(variants, scene, name) <= budget_ms + 1e-9


@given(worlds(), queries(st.just(True)))
def test_a_strict_query_is_served_within_its_objective_or_not_at_all(world, query):
    variants, scene = world
    found = choose(variants, scene, query)
    if isinstance(found, Dispatch):
        assert found.variant in within(variants, query)
        assert found.predicted_ms <= query.budget_ms
        assert not found.mark
        if found.instance is None:
            assert scene.not_yet[found.variant].placeable
        else:
            assert found.instance in there(scene, found.variant)


@given(worlds(), queries(st.just(True)))
def test_it_is_rejected_only_if_nothing_makes_it(world, query):
    variants, scene = world
    found = choose(variants, scene, query)
    possible = [n for n in within(variants, query) if makes(variants, scene, n, query.budget_ms)]
    assert isinstance(found, Dispatch) == bool(possible)


@given(worlds(), queries(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_and_instances_means_nothing(world, query, random):
    variants, scene = world
    first = choose(variants, scene, query)
    assert choose(variants, scene, query) == first

    def shuffled(items):
        items = list(items)
        random.shuffle(items)
        return items

    again = Scene(
        {n: Lineup.of(shuffled(there(scene, n))) for n in shuffled(scene.running)},
        {n: scene.not_yet[n] for n in shuffled(scene.not_yet)},
    )
    plan = catalogue(shuffled(variants)).plan(query.objective)
    assert select(plan, again, query, "q-0-1") == first
    servables = [one.servable for one in plan.eligible], [one.servable for one in plan.everything]
    assert Plan.of(query.objective, *map(shuffled, servables)) == plan


def test_of_two_with_as_much_to_do_the_one_that_is_quicker_now_is_taken():
    quick, slow = (RunningAt("w", n, "active", 0, 0.5, slowdown, (n,)) for n, slowdown in ((0, 0.5), (1, 1.0)))
    for n in range(20):
        assert Lineup.of([slow, quick]).least(0.0, f"q-0-{n}") is quick


def test_instances_whose_names_run_together_are_told_apart():
    one = RunningAt("w", 11, "active", 0, 1.0, 1.0, (0,))
    two = RunningAt("w1", 1, "active", 0, 1.0, 1.0, (1,))
    for salt in ("", "q-0-1", "q-0-2"):
        assert Lineup.of([one, two]).least(0.0, salt) == Lineup.of([two, one]).least(0.0, salt)


@given(worlds(), queries(st.just(True)), st.sampled_from([1.0, 1.5, 10.0, math.inf]))
def test_more_time_never_turns_a_dispatch_into_a_rejection(world, query, factor):
    variants, scene = world
    assume(query.objective.latency_ms is not None)
    latency = query.objective.latency_ms * factor
    relaxed = replace(
        query,
        objective=replace(query.objective, latency_ms=None if math.isinf(latency) else latency),
        budget_ms=query.budget_ms * factor,
    )
    if isinstance(choose(variants, scene, query), Dispatch):
        assert isinstance(choose(variants, scene, relaxed), Dispatch)


@given(worlds(), queries(st.just(True)), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([1.0, 10.0, math.inf]))
def test_a_lower_floor_or_a_higher_limit_never_turns_a_dispatch_into_a_rejection(world, query, floor, factor):
    variants, scene = world
    asked = query.objective
    relaxed = replace(asked, min_accuracy=asked.min_accuracy * floor, max_cost=asked.max_cost * factor)
    if isinstance(choose(variants, scene, query), Dispatch):
        assert isinstance(choose(variants, scene, replace(query, objective=relaxed)), Dispatch)


@given(worlds(), queries(), st.integers(1, 100), st.randoms(use_true_random=False))
def test_more_backlog_never_makes_an_instance_the_choice(world, query, more, random):
    variants, scene = world
    assume(scene.running)
    name = random.choice(sorted(scene.running))
    instances = there(scene, name)
    at = random.randrange(len(instances))
    before = instances[at]
    after = replace(before, backlog=before.backlog + more)
    busier = Lineup.of([*instances[:at], after, *instances[at + 1 :]])
    first = choose(variants, scene, query)
    second = choose(variants, Scene({**scene.running, name: busier}, scene.not_yet), query)
    if not (isinstance(first, Dispatch) and first.variant == name and first.instance == before):
        assert not (isinstance(second, Dispatch) and second.variant == name and second.instance == after)


@given(worlds(), queries(st.just(True)))
def test_the_wish_decides_among_those_that_make_it(world, query):
    variants, scene = world
    found = choose(variants, scene, query)
    assume(isinstance(found, Dispatch) and found.instance is not None)
    picks = {}
    for name in within(variants, query) & set(scene.running):
        base = ranked(variants, name, query.objective)
        in_time = [i for i in there(scene, name) if i.done_in_ms(base, query, OVERHEAD_MS) <= query.budget_ms]
        if in_time:
            picks[name] = min(in_time, key=lambda i: (i.condition != "active", i.expected_work_ms, i.slowdown)), base
    healthy = {n for n, (i, _) in picks.items() if i.condition == "active"}
    rivals = [candidate(variants, n) for n in healthy or set(picks)]
    assert found.variant in {c.variant for c in rivals}, "overloaded and interfered ones rank behind"
    chosen = candidate(variants, found.variant)
    match query.objective.optimize:
        case "cost":
            latency = query.objective.latency_ms
            assert query_cost(chosen, latency) == min(query_cost(c, latency) for c in rivals)
        case "accuracy":
            assert chosen.accuracy == max(c.accuracy for c in rivals)
        case "latency":
            pick = {
                n: i.done_in_ms(base, query, OVERHEAD_MS)
                for n, (i, base) in picks.items()
                if n in {c.variant for c in rivals}
            }
            assert found.predicted_ms == min(pick.values())


@given(worlds(), queries(st.just(False)))
def test_a_lenient_query_is_marked_exactly_when_its_objective_is_missed(world, query):
    variants, scene = world
    found = choose(variants, scene, query)
    if isinstance(found, Reject):
        rest = [v.variant for v in variants if v.variant not in query.excluded]
        assert not any(makes(variants, scene, n, query.late_budget_ms) for n in rest)
        return
    assert found.predicted_ms <= query.late_budget_ms
    assert found.variant not in query.excluded
    met = found.variant in within(variants, query) and found.predicted_ms <= query.budget_ms
    assert bool(found.mark) == (not met)
    if found.mark:
        one, objective = candidate(variants, found.variant), query.objective
        missed = {
            "accuracy": one.accuracy < objective.min_accuracy,
            "cost": query_cost(one, objective.latency_ms) > objective.max_cost,
            "latency": found.predicted_ms > query.budget_ms,
        }
        assert missed[found.mark], "the mark names a limit that is really missed"


@given(worlds(), queries(st.just(True)))
def test_a_rejection_names_the_limit_that_binds_and_a_variant_that_is_there(world, query):
    variants, scene = world
    found = choose(variants, scene, query)
    assume(isinstance(found, Reject))
    rest = [candidate(variants, v.variant) for v in variants if v.variant not in query.excluded]
    accurate = [c for c in rest if c.accuracy >= query.objective.min_accuracy]
    match found.code:
        case "no_variant":
            assert not rest
        case "accuracy":
            assert rest
            assert not accurate
        case "cost":
            assert accurate
            assert not within(variants, query)
        case "latency":
            best = min(soonest(variants, scene, n) for n in within(variants, query))
            assert query.budget_ms < best < math.inf
        case "no_room":
            assert {soonest(variants, scene, n) for n in within(variants, query)} == {math.inf}
        case other:
            pytest.fail(f"unknown code {other}")
    if found.code in ("accuracy", "cost", "latency"):
        assert found.suggestion.split(":")[0] in {c.variant for c in rest}


CHEAP, GOOD, NAMED = NAMES[:3]
FLEET = [
    variant(CHEAP, profile(1, 2, accuracy=0.8), 0.05),
    variant(GOOD, profile(5, 10, accuracy=0.99), 0.05),
    variant(NAMED, profile(5, 10, accuracy=0.7), 0.05, state="dominated"),
]
IDLE = Scene({n: Lineup.of([RunningAt("w", 0, "active", 0, 1.0, 1.0, (0,))]) for n in (CHEAP, GOOD, NAMED)})
TABLE = {
    "cheapest by default": (Objective("application", "app", latency_ms=50), CHEAP),
    "most accurate when asked": (Objective("application", "app", latency_ms=50, optimize="accuracy"), GOOD),
    "floor excludes the cheap one": (Objective("application", "app", latency_ms=50, min_accuracy=0.9), GOOD),
    "too tight for the good one": (Objective("application", "app", latency_ms=5, optimize="accuracy"), CHEAP),
    "impossible floor": (Objective("application", "app", latency_ms=50, min_accuracy=0.999), "accuracy"),
    "impossible latency": (Objective("application", "app", latency_ms=1), "latency"),
    "impossible price": (Objective("application", "app", latency_ms=50, max_cost=1e-9), "cost"),
    "an architecture": (Objective("architecture", GOOD.split(".")[0], latency_ms=50), GOOD),
    "a dominated one only by its name": (Objective("variant", NAMED, latency_ms=50), NAMED),
    "offline": (Objective("application", "app"), CHEAP),
}


@pytest.mark.parametrize("case", TABLE)
def test_selection(case):
    objective, expected = TABLE[case]
    query = Query(objective, math.inf if objective.latency_ms is None else objective.latency_ms)
    found = choose(FLEET, IDLE, query)
    assert (found.variant if isinstance(found, Dispatch) else found.code) == expected


def test_a_busy_instance_that_is_too_late_does_not_hide_one_that_is_not():
    late = RunningAt("w1", 0, "active", 30, 1.0, 1.0, (0,))
    slow = RunningAt("w2", 0, "interfered", 0, 1.0, 2.0, (1,))
    found = choose(
        FLEET[:1], Scene({CHEAP: Lineup.of([late, slow])}), Query(Objective("application", "app", latency_ms=20), 20.0)
    )
    assert isinstance(found, Dispatch)
    assert found.instance == slow


def test_the_quickest_is_taken_when_asked_though_it_costs_more():
    fleet = [variant(CHEAP, profile(1, 2), 5.0), variant(GOOD, profile(5, 10), 0.01)]
    for optimize, expected in (("latency", CHEAP), ("cost", GOOD)):
        query = Query(Objective("application", "app", latency_ms=50, optimize=optimize), 50.0)
        assert choose(fleet, IDLE, query).variant == expected


LENIENT = {
    "late, if it can be accurate and cheap": (dict(latency_ms=5, min_accuracy=0.9), {}, GOOD, "latency"),
    "too dear rather than too bad": (dict(latency_ms=500, min_accuracy=0.9, max_cost=1e-9), {}, GOOD, "cost"),
    "the most accurate, if none is enough": (dict(latency_ms=500, min_accuracy=0.999), {}, GOOD, "accuracy"),
    "the one there is room for": (dict(latency_ms=500, min_accuracy=0.9), {GOOD: False}, CHEAP, "accuracy"),
    "the soonest, if all are late": (dict(latency_ms=1), {}, CHEAP, "latency"),
}


@pytest.mark.parametrize("case", LENIENT)
def test_what_a_lenient_query_gets_instead(case):
    asked, room, expected, mark = LENIENT[case]
    objective = Objective("application", "app", strict=False, **asked)
    nowhere = {n: NotYet(0.0, placeable=False) for n in room}
    scene = Scene({n: found for n, found in IDLE.running.items() if n not in room}, nowhere)
    query = Query(objective, objective.latency_ms, late_budget_ms=10 * objective.latency_ms)
    found = choose(FLEET, scene, query)
    assert (found.variant, found.mark) == (expected, mark)


def test_starting_is_preferred_to_cold_and_both_to_nothing():
    query = Query(Objective("application", "app", latency_ms=1000), 1000.0)
    cold, starting = NotYet(100.0), NotYet(500.0, starting=True)
    found = choose(FLEET[:2], Scene({}, {CHEAP: cold, GOOD: starting}), query)
    assert (found.variant, found.instance, found.reason) == (GOOD, None, "starting")
    nowhere = NotYet(0.0, placeable=False)
    assert choose(FLEET[:2], Scene({}, {CHEAP: cold, GOOD: nowhere}), query).variant == CHEAP
    assert choose(FLEET[:2], Scene({}, {CHEAP: nowhere, GOOD: nowhere}), query).code == "no_room"


def test_candidates_cost_what_their_capacity_makes_of_their_price():
    one = Servable("v", "app", profile(p50=1.0, p99=2.0, batch8=4.0), 3.6, "cpu", 1)
    # 8 queries in 4 ms at best; alone, where 2 x 8 ms would be too late, one a millisecond.
    assert query_cost(one, None) == pytest.approx(3.6 / 3600 / 2000 * 1000)
    assert query_cost(one, 10.0) == pytest.approx(3.6 / 3600 / 1000 * 1000)
