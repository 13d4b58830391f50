"""Of refusals so many a second leave a record; of the rest it is told how many there were, and why."""

from hypothesis import given
from hypothesis import strategies as st

from infaas.router.ration import MOST_A_SECOND, Ration

moments = st.lists(st.tuples(st.floats(0, 400), st.sampled_from(["latency", "no_room", "cost"])), max_size=300)


@given(moments)
def test_each_is_recorded_or_counted_once_and_no_second_has_more_records_than_it_may(steps):
    ration, now, recorded, told = Ration(most_a_second=5), 1_000.0, [], []
    for gap, code in steps:
        now += gap
        told += [summary] if (summary := ration.close(now)) else []
        if ration.allows(code, now):
            recorded.append(now)
    told += [summary] if (summary := ration.close(now + 1_000.0)) else []
    counted = sum(sum(summary.by_code.values()) for summary in told)
    assert len(recorded) + counted == len(steps)
    for at in recorded:
        assert sum(at <= other < at + 1_000.0 for other in recorded) <= 2 * 5
    assert all(summary.begun_ms <= summary.ended_ms for summary in told)


def test_few_are_all_recorded_and_nothing_is_told():
    ration = Ration()
    for n in range(MOST_A_SECOND):
        assert ration.allows("latency", 1_000.0 + n)
    assert ration.close(5_000.0) is None


def test_what_is_told_says_when_the_first_and_the_last_came_and_how_many_of_each_code():
    ration = Ration(most_a_second=1)
    assert ration.allows("latency", 1_000.0)
    for at, code in ((1_100.0, "latency"), (1_200.0, "no_room"), (1_900.0, "latency")):
        assert not ration.allows(code, at)
    assert ration.close(1_950.0) is None, "the second is not over"
    summary = ration.close(2_000.0)
    assert (summary.begun_ms, summary.ended_ms) == (1_100.0, 1_900.0)
    assert summary.by_code == {"latency": 2, "no_room": 1}
    assert ration.close(9_000.0) is None, "told once"
    assert ration.allows("latency", 2_001.0)
