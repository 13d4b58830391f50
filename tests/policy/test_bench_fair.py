"""The simulation behind `fair_p99_ratio`: the ideal is what it says, and a router is near it where there is next to no load."""

import numpy as np

from infaas.bench.fair import SERVICE_MS, routed, single_queue

QUICK, SLOW = SERVICE_MS


def test_of_two_that_are_free_the_quicker_takes_it_and_else_whoever_is_free_first():
    assert single_queue(np.array([0.0, 0.5, 1.0, 50.0])) == [QUICK, SLOW, 3.0, QUICK]


def test_a_lone_query_goes_to_the_quicker_instance():
    arrivals = np.arange(1, 50) * 30.0
    assert routed(arrivals, np.zeros(len(arrivals), dtype=int), 1) == [QUICK] * len(arrivals)


def test_a_router_uses_both_when_more_comes_than_the_quick_one_can_do():
    latencies = routed(np.arange(1, 2000) * 1.9, np.zeros(1999, dtype=int), 1)
    assert max(latencies) < 4 * SLOW
