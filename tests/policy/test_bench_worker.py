"""What `bench worker` makes of the answers it gets."""

import pytest

from infaas.bench.worker.caller import Query
from infaas.bench.worker.moves import longest_gap_ms
from infaas.bench.worker.overload import expired_share, goodput


def query(*, partition=0, deadline_ms=100.0, answered_ms=50.0, answered_s=0.0, outcome="ok", queue_ms=0.0, batch=1):
    return Query(partition, deadline_ms, 0.0, answered_ms, answered_s, outcome, queue_ms, 10.0, batch)


def test_goodput_is_answers_in_time_and_nothing_else():
    answers = [query(), query(answered_ms=101.0), query(outcome="expired"), query(answered_ms=100.0)]
    assert goodput(answers, 2.0) == 1.0


def test_a_query_has_its_share_of_its_batch_and_expired_is_what_was_so_when_it_began():
    late = query(queue_ms=101.0, batch=2)
    assert expired_share([query(), late, query(outcome="expired", queue_ms=500.0)]) == pytest.approx(5.0 / 15.0)
    assert expired_share([query(queue_ms=99.0, answered_ms=200.0)]) == 0.0
    assert expired_share([]) == 0.0


def test_a_gap_is_between_answers_of_one_partition_and_begins_with_the_last_before_the_move():
    answers = [query(answered_s=moment) for moment in (0.0, 5.0, 5.1, 5.6, 5.7)]
    answers += [query(partition=1, answered_s=5.3), query(outcome="expired", answered_s=5.4)]
    assert longest_gap_ms(answers, 0, since_s=5.2) == pytest.approx(500.0)
