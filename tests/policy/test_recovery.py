"""How long a fault was felt, from made-up histories."""

import pytest

from infaas.bench.chaos.recovery import recovery_s
from infaas.bench.history import Entry, History

STRUCK_MS = 5_000.0


def history(answered, *, latency=b"100"):
    """A query each 100 ms from 0 s to 10 s, answered after 10 ms where `answered(at)`."""
    times = [100.0 * n for n in range(100)]
    queries = tuple(Entry("q", 0, n, at, headers={"infaas-latency-ms": latency}) for n, at in enumerate(times))
    replies = tuple(
        Entry("r", 0, n, q.at_ms + 10, headers={"infaas-query-id": q.position.encode(), "infaas-outcome": b"ok"})
        for n, q in enumerate(queries)
        if answered(q.at_ms)
    )
    return History(queries=queries, replies=replies)


@pytest.mark.parametrize(
    ("answered", "expected_s"),
    [
        (lambda at: True, 0.0),
        (lambda at: not 5_000 <= at < 6_500, 1.51),
        (lambda at: not 4_900 <= at < 5_000, 0.01),
        (lambda at: not (5_000 <= at < 6_000 or 6_500 <= at < 6_600), 1.61),
        (lambda at: not (5_000 <= at < 6_000 or 8_000 <= at < 8_100), 1.01),
        (lambda at: at < 5_000, None),
    ],
    ids=["not felt", "an outage", "what was open", "within a second again", "another one later", "never"],
)
def test_recovery(answered, expected_s):
    found = recovery_s(history(answered), struck_ms=STRUCK_MS)
    assert found is None if expected_s is None else found == pytest.approx(expected_s)


def test_offline_queries_have_no_time_to_be_late_by():
    queries = tuple(Entry("q", 0, n, 100.0 * n) for n in range(100))
    assert recovery_s(History(queries=queries), struck_ms=STRUCK_MS) == 0.0
