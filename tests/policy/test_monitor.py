"""An instance's state follows what lasts, not noise."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.host.messages import LastBatch
from infaas.workers.monitor import ENTER_LOAD, ENTER_SLOW, LEAVE_SLOW, SLOTS, Observed

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

CAPACITY = 100.0


def slots(observed, rates):
    states = [observed.state]
    for rate in rates:
        observed = observed.slot(arrivals_per_s=rate, capacity_per_s=CAPACITY)
        states.append(observed.state)
    return observed, states


def changes(states):
    return [(a, b) for a, b in pairwise(states) if a != b]


# In runs, for single slots of noise never last long enough to move anything.
noise = st.lists(st.tuples(st.integers(80, 120), st.integers(1, 2 * SLOTS)), max_size=30).map(
    lambda runs: [n for n, times in runs for _ in range(times)]
)
slow = st.sampled_from([1.0, 1.3, 2.0])


@given(noise)
def test_noise_at_saturation_moves_it_at_most_once_and_only_up(percent):
    _, states = slots(Observed(), [ENTER_LOAD * CAPACITY * n / 100 for n in percent])
    assert changes(states) in ([], [("active", "overloaded")])


@given(noise)
def test_noise_of_latency_at_the_limit_moves_it_at_most_once(percent):
    observed, states = Observed(slowdown=ENTER_SLOW), ["active"]
    for n in percent:
        observed = observed.observe(LastBatch(took_ms=10 * ENTER_SLOW * n / 100, queries=1, expected_ms=10.0))
        assert observed.slowdown > LEAVE_SLOW - 1e-9
        observed = observed.slot(arrivals_per_s=10.0, capacity_per_s=CAPACITY)
        states.append(observed.state)
    assert len(changes(states)) <= 1


@given(st.lists(st.integers(0, 200), max_size=200), slow)
def test_no_two_changes_within_the_slots_a_change_takes(rates, slowdown):
    _, states = slots(Observed(slowdown=slowdown), rates)
    at = [i for i, (a, b) in enumerate(pairwise(states)) if a != b]
    assert all(later - earlier >= SLOTS for earlier, later in pairwise([-1, *at]))


@given(st.integers(0, SLOTS - 1), st.integers(0, 50), st.integers(101, 500))
def test_a_short_burst_moves_nothing(burst, calm, rate):
    _, states = slots(Observed(), [calm] * 3 + [rate] * burst + [calm] * 10)
    assert not changes(states)


def test_slots_that_do_not_follow_each_other_do_not_add_up():
    _, states = slots(Observed(), [300, 20] * 50)
    assert not changes(states)


@pytest.mark.parametrize("period", [20, 60])
def test_a_square_wave_moves_it_up_once_and_down_once_a_period(period):
    wave = ([130] * (period // 2) + [20] * (period // 2)) * 5
    _, states = slots(Observed(), wave)
    assert changes(states) == [("active", "overloaded"), ("overloaded", "active")] * 5


TABLE = {
    "idle": (1.0, 0, "active"),
    "busy and well": (1.0, 90, "active"),
    "at saturation": (1.0, 100, "overloaded"),
    "slow below saturation": (2.0, 50, "interfered"),
    "slow at saturation is overload": (2.0, 100, "overloaded"),
    "slow once, idle now": (2.0, 0, "active"),
    "a little slow": (1.3, 50, "active"),
}


@pytest.mark.parametrize("case", TABLE)
def test_states(case):
    slowdown, rate, expected = TABLE[case]
    observed, states = slots(Observed(slowdown=slowdown), [rate] * SLOTS)
    assert observed.state == expected
    assert set(states[:-1]) == {"active"}, "not before it has lasted"


@pytest.mark.parametrize(
    ("state", "slowdown", "rate", "stays"),
    [
        ("overloaded", 1.0, 85, True),
        ("overloaded", 1.0, 70, False),
        ("interfered", 1.3, 50, True),
        ("interfered", 1.1, 50, False),
        ("interfered", 1.3, 0, False),
    ],
)
def test_a_state_is_left_at_a_lower_limit_than_it_is_entered(state, slowdown, rate, stays):
    observed, _ = slots(Observed(slowdown=slowdown, state=state), [rate] * (3 * SLOTS))
    assert (observed.state == state) == stays
    if not stays:
        assert observed.state == "active"


@given(st.lists(st.tuples(st.floats(0.1, 1000), st.integers(1, 64)), min_size=1, max_size=50))
def test_observations_stay_within_what_was_observed(batches):
    observed = Observed()
    for took, queries in batches:
        observed = observed.observe(LastBatch(took_ms=took, queries=queries, expected_ms=10.0))
    each = [took / queries for took, queries in batches]
    assert min(each) * 0.999 <= observed.query_ms <= max(each) * 1.001
    factors = [1.0, *(took / 10.0 for took, _ in batches)]
    assert min(factors) * 0.999 <= observed.slowdown <= max(factors) * 1.001
    assert (observed.state, observed.streak) == ("active", 0), "a batch is no slot"


def test_microseconds_that_take_some_hundred_are_no_interference():
    observed = Observed()
    for _ in range(50):
        observed = observed.observe(LastBatch(took_ms=0.3, queries=1, expected_ms=0.01))
        observed = observed.slot(arrivals_per_s=10.0, capacity_per_s=CAPACITY)
    assert observed.state == "active"
    assert observed.slowdown <= 1.0


def test_who_is_avoided_for_being_slow_recovers_without_work():
    observed = Observed(slowdown=3.0)
    for _ in range(20):
        observed = observed.slot(arrivals_per_s=0.0, capacity_per_s=CAPACITY)
    assert observed.slowdown < 1.1


def test_nothing_is_divided_by_nothing():
    observed = Observed().observe(LastBatch(took_ms=5.0, queries=0, expected_ms=0.0))
    assert (observed.query_ms, observed.slowdown) == (5.0, 1.0)
    assert observed.slot(arrivals_per_s=10.0, capacity_per_s=0.0).state == "active"
