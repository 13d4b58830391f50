"""The simulation behind `bench admission`: the same seed gives the same, and each query ends once."""

from infaas.bench.admission import Stream, simulate


def test_the_same_seed_gives_the_same_and_nothing_is_refused_where_there_is_room():
    stream = Stream(2.0, 1_000.0)
    once, again = (simulate({"only": (33.0, 45.0)}, [stream], {"only": 1}, 60.0, seed=3) for _ in range(2))
    assert once == again
    assert once[0].asked > 60
    assert once[0].bad_share == 0


def test_what_can_not_be_met_is_refused_and_not_late():
    (found,) = simulate({"only": (33.0, 33.0)}, [Stream(5.0, 20.0)], {"only": 1}, 60.0, seed=1)
    assert found.refused == found.asked > 0
    assert found.errors_ms == []


def test_beyond_what_an_instance_can_do_about_as_much_as_it_can_is_served():
    (found,) = simulate({"only": (33.0, 33.0)}, [Stream(60.0, 200.0)], {"only": 1}, 120.0, seed=2)
    served = found.asked - found.refused - found.late
    assert 0.8 < served / (120.0 * 1000.0 / 33.0) < 1.01, "and a few that wait at the end"
