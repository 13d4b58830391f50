"""What waits at an instance between two reports: counted when it is sent, worked off one by one, the earliest due first."""

from bisect import insort

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.policy.fits import ahead
from infaas.router.drain import TRUST_MS, Drain

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")
times = st.lists(st.floats(0, 200), max_size=20)
MUCH = 1e9


def test_a_steady_stream_that_the_instance_keeps_up_with_leaves_next_to_nothing():
    drain = Drain.since(1000.0, 0, [], 0, query_ms=10.0)
    for n in range(1, 15):  # one query each 12 ms, none of them reported
        assert drain.left(1000.0 + 12 * n, 10.0) == 0
        drain.add(1000.0 + 12 * n, 10.0, MUCH)
        assert drain.left(1000.0 + 12 * n, 10.0) == 1


def test_one_that_was_sent_long_after_the_last_news_is_worked_off_like_any_other():
    """A supervisor whose instance has nothing to do has no news for half a second."""
    drain = Drain.since(0.0, 0, [], 0, query_ms=33.0)
    drain.add(450.0, 33.0, MUCH)
    assert drain.left(450.0, 33.0) == 1
    assert drain.left(483.0, 33.0) == 0


def test_a_burst_counts_in_full_and_then_shrinks_by_one_each_query():
    drain = Drain.since(0.0, 0, [], 0, query_ms=10.0)
    assert drain.left(90.0, 10.0) == 0, "idle for a while earns no credit"
    for _ in range(5):
        drain.add(90.0, 10.0, MUCH)
    assert drain.left(90.0, 10.0) == 5
    assert drain.left(110.0, 10.0) == 3


def test_a_report_in_the_middle_of_a_query_does_not_make_it_a_whole_one_again():
    drain = Drain.since(0.0, 0, [], 0, query_ms=33.0)
    drain.add(90.0, 33.0, MUCH)
    again = Drain.since(100.0, 1, [], 0, 33.0, drain.under_way(100.0, 33.0))
    assert again.left(100.0, 33.0) == drain.left(100.0, 33.0) == pytest.approx(1 - 10 / 33)
    assert Drain.since(100.0, 3, [], 0, 33.0, drain.under_way(100.0, 33.0)).left(100.0, 33.0) == pytest.approx(
        3 - 10 / 33
    )
    late = Drain.since(130.0, 1, [], 0, 33.0, drain.under_way(130.0, 33.0)).left(130.0, 33.0)
    assert 0 < late < 0.5, "it should be done, and is not: then it soon will be"
    assert drain.under_way(200.0, 33.0) == 1, "what is there so much later is another, of which nothing is known"


@given(st.floats(0, 50), st.floats(0, 300), st.floats(0.1, 50))
def test_what_is_left_of_the_one_under_way_is_a_part_of_one(work, at, query_ms):
    assert 0 < Drain(work, 100.0, 1e9).under_way(at, query_ms) <= 1


def test_who_has_gone_silent_is_not_taken_to_work_on():
    drain = Drain.since(0.0, 2000, [], 0, query_ms=1.0)
    assert drain.left(10_000.0, 1.0) == 2000 - TRUST_MS
    assert drain.left(20_000.0, 1.0) == 2000 - TRUST_MS


@given(st.integers(0, 50), times, st.integers(0, 5), st.floats(0.1, 50), times)
def test_it_lies_between_none_and_all_and_falls_with_time(waiting, sent, unconfirmed, query_ms, later):
    drain = Drain.since(0.0, waiting, sent, unconfirmed, query_ms)
    last = drain.left(200.0, query_ms)
    assert 0 <= last <= waiting + len(sent) + unconfirmed
    for at in sorted(later):
        now = drain.left(200.0 + at, query_ms)
        assert 0 <= now <= last + 1e-9
        last = now


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 300)), min_size=1, max_size=30), st.floats(1, 20))
def test_what_is_before_a_query_is_what_an_instance_that_takes_the_earliest_first_does_before_it(sends, query_ms):
    """Against one that does so, told of nothing but the sends; what is under way is ended, and rounding is one query."""
    drain, waiting, now, free = Drain.since(0.0, 0, [], 0, query_ms), [], 0.0, 0.0
    for gap, slack in sends:
        now += gap
        while waiting and free <= now:  # begun when it was free, the earliest deadline first
            waiting.pop(0)
            free += query_ms
        free = max(free, now) if not waiting else free
        deadline = now + slack
        before = ahead(drain.left(now, query_ms), drain.deadlines, deadline)
        real = sum(one <= deadline for one in waiting) + max(0.0, free - now) / query_ms
        assert before <= real + 2
        assert before >= min(real, drain.left(now, query_ms)) - 2
        drain.add(now, query_ms, deadline)
        insort(waiting, deadline)


@given(st.integers(0, 40), st.lists(st.floats(0, 100), max_size=40), st.floats(0, 100), st.floats(0, 100))
def test_who_is_due_later_has_no_less_before_him(waiting, deadlines, one, other):
    known = sorted(deadlines)[:waiting]
    early, late = sorted((one, other))
    assert 0 <= ahead(waiting, known, early) <= ahead(waiting, known, late) <= waiting
    assert ahead(waiting, known, early) >= min(waiting, 1), "what is under way is ended"
    if waiting:
        assert ahead(waiting - 0.5, [MUCH] * 40, early) == 0.5, "of it what is left"


def test_a_send_that_failed_waits_nowhere():
    drain = Drain.since(0.0, 0, [], 0, 5.0)
    drain.add(1.0, 5.0, 50.0)
    drain.withdraw(50.0)
    assert drain.left(1.0, 5.0) == 0
    assert drain.deadlines == []
