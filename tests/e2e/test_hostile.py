"""A slice of `python -m infaas.bench hostile`: no input stops a service, stays silent or holds up its neighbours."""

import pytest

from infaas.bench.hostile import hostile


@pytest.mark.timeout(120)
def test_hostile_records_are_answered_or_dead_lettered_and_their_neighbours_served_in_time():
    figures = hostile(seed=11, count=300)
    assert figures["sent"] >= 290
    assert figures["answered"] >= 250
    assert figures["silent"] == 0
    assert figures["crashes"] == 0
    assert figures["neighbours_sent"] == 30
    assert figures["neighbours_ok_in_time"] == 30
