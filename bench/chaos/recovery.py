"""How long a fault was felt."""

from __future__ import annotations

from infaas.bench import checker
from infaas.bench.history import History

STEADY_MS = 1_000.0


def recovery_s(history: History, *, struck_ms: float) -> float | None:
    """From the fault to the first in-time answer after which, for a second, every online query was answered in time.

    Only queries that the fault could hit count: those that were open at it, or came later. 0 = it was not felt; None = it did
    not end. Times are the log's.
    """
    replies = checker.replies_of(history)
    asked = sorted(filter(checker.is_online, history.queries), key=lambda q: q.at_ms)
    told = [(q, checker.in_time(q, replies.get(q.position, ()))) for q in asked]
    hit = [(q, ok) for q, ok in told if q.at_ms >= struck_ms or not ok]
    late = [q.at_ms for q, ok in hit if not ok]
    if not late:
        return 0.0
    for query, ok in hit:
        steady = not any(query.at_ms <= at_ms < query.at_ms + STEADY_MS for at_ms in late)
        if ok and query.at_ms > late[0] and steady:
            return max(0.0, min(r.at_ms for r in replies[query.position]) - struck_ms) / 1000.0
    return None
