"""From measured points to latency, capacity and cost."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infaas.policy.capacity import best_batch, capacity
from infaas.policy.price import cost_per_1000, variant_cost_per_hour
from infaas.schemas.catalogue import CATALOGUE, GIB, MachineType, local_type
from infaas.schemas.profile import BatchPoint, Profile, fit_line

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

ms = st.floats(0.01, 1000)


def profile(points):
    slope, intercept = fit_line(tuple(points))
    return Profile(load_ms=1, peak_memory_bytes=1, accuracy=0.9, points=tuple(points), slope=slope, intercept=intercept)


@st.composite
def profiles(draw):
    sizes = sorted({1, *draw(st.lists(st.integers(1, 64), max_size=6))})
    points = []
    for batch in sizes:
        p50 = draw(ms)
        points.append(BatchPoint(batch=batch, p50_ms=p50, p99_ms=p50 * draw(st.floats(1.0, 3.0))))
    return profile(points)


@given(profiles(), st.none() | st.floats(0.01, 5000))
def test_capacity_is_the_best_measured_batch_that_meets_the_objective(found, objective):
    limit = math.inf if objective is None else objective
    rates = [0.0]
    for p in found.points:
        # A query may just miss a batch, and then waits for that one before its own.
        if (1 if p.batch == 1 else 2) * p.p99_ms <= limit:
            rates.append(p.batch / p.p50_ms * 1000)
    assert capacity(found, objective) == pytest.approx(max(rates))
    best = best_batch(found, objective)
    assert (best == 0) == (max(rates) == 0.0)
    if best:
        assert best / found.latency_ms(best) * 1000 == pytest.approx(max(rates))


@given(profiles(), st.floats(0.01, 5000), st.floats(0, 5000))
def test_more_time_never_means_less_capacity_or_a_higher_cost(found, objective, more):
    assert capacity(found, objective) <= capacity(found, objective + more) <= capacity(found, None)
    assert cost_per_1000(found, 1.0, objective) >= cost_per_1000(found, 1.0, objective + more)


@given(profiles())
def test_it_can_meet_what_its_quickest_batch_can_and_nothing_below(found):
    assert capacity(found, found.p99_ms(1)) > 0
    quickest = min((1 if p.batch == 1 else 2) * p.p99_ms for p in found.points)
    assert capacity(found, quickest) > 0
    assert capacity(found, quickest * 0.999) == 0
    assert cost_per_1000(found, 1.0, quickest * 0.999) == math.inf


@given(profiles(), st.floats(0.01, 100))
def test_cost_is_price_over_capacity(found, price):
    assert cost_per_1000(found, price) == pytest.approx(price / (capacity(found) * 3600) * 1000)


@given(profiles())
def test_measured_points_are_taken_as_they_are(found):
    for p in found.points:
        assert (found.latency_ms(p.batch), found.p99_ms(p.batch)) == (p.p50_ms, p.p99_ms)


@given(profiles(), st.integers(1, 64))
def test_between_two_points_it_lies_between_them(found, batch):
    below = [p for p in found.points if p.batch <= batch]
    above = [p for p in found.points if p.batch >= batch]
    if not above:
        assert found.latency_ms(batch) >= found.points[-1].p50_ms
        return
    low, high = below[-1], above[0]
    for at, a, b in (
        (found.latency_ms(batch), low.p50_ms, high.p50_ms),
        (found.p99_ms(batch), low.p99_ms, high.p99_ms),
    ):
        assert min(a, b) * 0.999 <= at <= max(a, b) * 1.001


POINTS = (
    BatchPoint(batch=1, p50_ms=2, p99_ms=4),
    BatchPoint(batch=4, p50_ms=5, p99_ms=8),
    BatchPoint(batch=16, p50_ms=17, p99_ms=20),
)


def test_a_profile_by_hand():
    found = profile(POINTS)
    assert found.max_batch == 16
    assert (found.slope, found.intercept) == (pytest.approx(1.0), pytest.approx(1.0))
    assert [found.latency_ms(b) for b in (2, 10, 20)] == pytest.approx([3.0, 11.0, 21.0])
    assert [found.p99_ms(b) for b in (2, 10, 20)] == pytest.approx([16 / 3, 14.0, 24.0])
    limits = {3.9: 0, 4: 1, 15.9: 1, 16: 4, 39.9: 4, 40: 16, None: 16}
    assert {limit: best_batch(found, limit) for limit in limits} == limits
    assert capacity(found, 4) == pytest.approx(500)
    assert capacity(found, 16) == pytest.approx(800)
    assert capacity(found) == pytest.approx(16000 / 17)


def test_the_seeds_variants_count_as_batch_one_with_their_given_rate():
    a = profile([BatchPoint(batch=1, p50_ms=10, p99_ms=12)])
    assert (capacity(a), capacity(a, 12), capacity(a, 11)) == (pytest.approx(100), pytest.approx(100), 0.0)
    assert (a.slope, a.latency_ms(5)) == (10.0, 50.0)  # nobody measured a batch: one after the other


@given(st.floats(-5, 5), st.floats(0.1, 50), st.lists(st.integers(1, 64), min_size=2, max_size=8, unique=True))
def test_a_line_is_found_again(slope, intercept, batches):
    shift = max(0.0, -slope * max(batches)) + 0.1
    points = tuple(BatchPoint(batch=b, p50_ms=slope * b + intercept + shift, p99_ms=10_000) for b in sorted(batches))
    assert fit_line(points) == (pytest.approx(slope, abs=1e-6), pytest.approx(intercept + shift, abs=1e-4))


@pytest.mark.parametrize("field", ["points", "accuracy", "load_ms"])
def test_what_is_no_profile_is_refused(field):
    good = profile(POINTS).model_dump()
    bad = {"points": (), "accuracy": 70.0, "load_ms": -1.0}
    with pytest.raises(ValidationError, match=field):
        Profile(**{**good, field: bad[field]})


TYPES = (
    MachineType("small", frozenset({"cpu"}), 2, 4 * GIB, 0.1),
    MachineType("big", frozenset({"cpu"}), 16, 64 * GIB, 0.64),
    MachineType("gpu", frozenset({"cpu", "cuda"}), 8, 61 * GIB, 3.06, 1, 16 * GIB),
)
COSTS = {
    "by cores": (("cpu", 1, GIB // 2), 0.04),
    "by memory": (("cpu", 1, 32 * GIB), 0.32),
    "only the big one has the cores": (("cpu", 16, 1), 0.64),
    "a whole accelerator": (("cuda", 1, GIB), 3.06),
    "nothing has it": (("neuron", 1, 1), math.inf),
    "nothing is big enough": (("cpu", 64, 1), math.inf),
}


@pytest.mark.parametrize("case", COSTS)
def test_price_is_the_dominant_share_of_the_cheapest_machine(case):
    (platform, cores, memory), expected = COSTS[case]
    assert variant_cost_per_hour(platform, cores, memory, TYPES) == pytest.approx(expected)


def test_an_accelerator_is_shared_by_its_memory():
    assert variant_cost_per_hour("cuda", 1, GIB, TYPES, accelerator_bytes=4 * GIB) == pytest.approx(3.06 / 4)
    assert variant_cost_per_hour("cpu", 1, 1) == pytest.approx(min(t.price_per_hour / t.cores for t in CATALOGUE))
    assert local_type(2, GIB).price_per_hour == pytest.approx(2 * local_type(1, GIB).price_per_hour)
