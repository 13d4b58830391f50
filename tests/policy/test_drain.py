"""The backlog a router expects between two reports."""

from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.router.drain import TRUST_MS, Drain

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")
times = st.lists(st.floats(0, 200), max_size=20)


def test_a_steady_stream_that_the_instance_keeps_up_with_leaves_next_to_nothing():
    drain = Drain.since(1000.0, 0, [], 0, query_ms=10.0)
    found = []
    for n in range(1, 15):  # one query each 12 ms, none of them reported
        found.append(drain.left(1000.0 + 12 * n, n, 10.0))
    assert max(found) <= 1.0


def test_a_burst_counts_in_full_and_then_shrinks_by_one_each_query():
    drain = Drain.since(0.0, 0, [], 0, query_ms=10.0)
    drain.left(90.0, 0, 10.0)  # idle for a while earns no credit
    assert drain.left(90.0, 5, 10.0) == 5
    assert drain.left(110.0, 5, 10.0) == 3


def test_who_has_gone_silent_is_not_taken_to_work_on():
    drain = Drain.since(0.0, 1000, [], 0, query_ms=1.0)
    assert drain.left(10_000.0, 1000, 1.0) == 1000 - TRUST_MS
    assert drain.left(20_000.0, 1000, 1.0) == 1000 - TRUST_MS


@given(st.integers(0, 50), times, st.integers(0, 5), st.floats(0.1, 50), times)
def test_it_lies_between_none_and_all_and_falls_with_time(waiting, sent, unconfirmed, query_ms, later):
    drain = Drain.since(0.0, waiting, sent, unconfirmed, query_ms)
    counted = waiting + len(sent) + unconfirmed
    last = drain.left(200.0, counted, query_ms)
    assert 0 <= last <= counted
    for at in sorted(later):
        now = drain.left(200.0 + at, counted, query_ms)
        assert 0 <= now <= last + 1e-9
        last = now


@given(st.integers(0, 50), times, st.floats(0.1, 50))
def test_looking_often_changes_nothing(waiting, sent, query_ms):
    once, often = (Drain.since(0.0, waiting, sent, 0, query_ms) for _ in range(2))
    counted = waiting + len(sent)
    for at in range(200, 290, 5):
        often.left(float(at), counted, query_ms)
    assert abs(once.left(290.0, counted, query_ms) - often.left(290.0, counted, query_ms)) < 1e-6
