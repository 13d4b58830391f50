"""Offered load is counted once, by class, whatever became of the queries."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.router.demand import GRID, MAX_CLASSES, Demand, on_grid
from infaas.schemas.headers import Objective

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

latencies = st.floats(0.1, 1e6)


@given(latencies)
def test_the_grid_is_ten_percent_wide_and_rounds_down(latency):
    low = on_grid(latency)
    assert low <= latency * (1 + 1e-5)
    assert latency < low * GRID * (1 + 1e-5)


@given(latencies, latencies)
def test_the_grid_keeps_order(one, other):
    assert (on_grid(one) <= on_grid(other)) or one > other


@given(st.integers(0, 60))
def test_a_point_of_the_grid_is_its_own_cell(power):
    exact = GRID**power
    assert on_grid(exact) == pytest.approx(exact)
    assert on_grid(exact * 0.999) < on_grid(exact) == on_grid(exact * 1.001)


def test_no_objective_is_a_class_of_its_own():
    assert on_grid(None) is None


asked = st.tuples(
    st.sampled_from(["cost", "accuracy", "latency"]),
    st.sampled_from([None, 10.0, 10.2, 50.0, 200.0]),
    st.sampled_from([("a",), ("a", "b")]),
    st.booleans(),
)


@given(st.lists(asked, max_size=60))
def test_every_query_is_counted_once_in_its_class(queries):
    demand, expected, refused = Demand(), Counter(), Counter()
    for optimize, latency, eligible, rejected in queries:
        objective = Objective("application", "app", latency_ms=latency, optimize=optimize)
        demand.count(objective, latency, eligible, rejected=rejected)
        key = optimize, on_grid(latency), eligible
        expected[key] += 1
        refused[key] += rejected
    found = {(c.optimize, on_grid(c.latency_ms), c.eligible): c for c in demand.classes()}
    assert {k: c.offered for k, c in found.items()} == dict(expected)
    assert {k: c.rejected for k, c in found.items()} == {k: refused[k] for k in expected}
    assert all((c.scope, c.name) == ("application", "app") for c in found.values())


def test_an_objective_that_is_always_the_same_is_reported_as_it_is():
    demand = Demand()
    for _ in range(3):
        demand.count(Objective("application", "app"), 20.0, ("a",), rejected=False)
    assert [(c.latency_ms, c.offered) for c in demand.classes()] == [(20.0, 3)]


def test_counters_never_fall_and_classes_are_bounded():
    demand = Demand()
    for n in range(MAX_CLASSES + 50):
        demand.count(Objective("application", f"app{n}"), 20.0, ("a",), rejected=True)
    found = demand.classes()
    assert len(found) == MAX_CLASSES
    assert found[-1].name == f"app{MAX_CLASSES + 49}", "the newest is there"
