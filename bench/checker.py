"""The history checker: what a run did wrong, found in its log alone. Pure.

For every query that stands in the log:
1. it has a reply or a dead letter, else it is *lost*; it has a reply, else it is *unanswered*, and so it is where its caller,
   still alive, was not shown it;
2. an `ok` reply says what the served variant's model says, else it is *wrong*; and a caller is shown the reply of its own query;
3. a strict floor is kept, else *below floor*;
4. a late reply shows it: it says that it missed its objective, or, where its sender expected to be in time and it was on its way
   when something broke, its `infaas-due` lies before its append, and so its caller is told; else it is *late and unmarked*. Those
   that only the log shows to be late are *overtaken*, and counted;
5. further replies are *doubled*: allowed, but counted;
6. a commit passes only what was done before it: a query with its reply, its dead letter or its record on a work topic; a record
   of work with its query's reply, dead letter or return. Else *passed*. A commit below one before it goes *back*: work is done
   twice, which is allowed, and counted.
A record that was confirmed to its producer and does not stand in the log is lost as well.

Source: the checker of Jepsen's tests for Kafka (lost, duplicate, unseen, non-monotonic).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from infaas.bench.history import Entry, History, Shown
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import InfaasError, QueryTimeout
from infaas.schemas.oip import Array

Expected = Callable[[Entry, str], "Mapping[str, Array] | None"]
"""What a variant's model answers to a query; None = no such variant, so that any answer is wrong."""
UNTIL_APPENDED_MS = 20.0
"""From marking a reply to its append, in ordinary running: nobody can mark what has not happened yet."""
COMMIT_AFTER_MS = 1_000.0
TOPIC, PARTITION, OFFSET = (f"__connect.errors.{name}" for name in ("topic", "partition", "offset"))
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Findings:
    """Query ids (or places in the log) by what is wrong with them; `queries` is how many were looked at."""

    queries: int = 0
    commits: int = 0
    """Of the two groups, that were looked at."""
    lost: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    below_floor: tuple[str, ...] = ()
    late_unmarked: tuple[str, ...] = ()
    overtaken: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    back: tuple[str, ...] = ()

    @property
    def broken(self) -> dict[str, int]:
        """How many of each kind that must not be; what is merely counted is left out."""
        counted = ("queries", "commits", "overtaken", "doubled", "back")
        return {f.name: len(found) for f in fields(self) if f.name not in counted and (found := getattr(self, f.name))}


def check(history: History, expected: Expected, *, queries_group: str = "", work_group: str = "") -> Findings:
    """Looks at every query of a history.

    Args:
        history: of the run.
        expected: the model's answer.
        queries_group: full name of the routers' group; its commits are looked at.
        work_group: full name of the instances' group.
    """
    replies = _by_query(history.replies)
    dead = _dead_letters(history)
    told = {shown.asked: shown for shown in history.shown}
    lost, unanswered = list(_not_in_log(history)), list[str]()
    wrong = list(_for_somebody_else(history))
    below, late, overtaken, doubled = list[str](), list[str](), list[str](), list[str]()
    for query in history.queries:
        place = query.position
        answers = replies.get(place, ())
        if not answers:
            (unanswered if place in dead else lost).append(place)
        shown = told.get(query.asked)
        if shown is not None and shown.query and not replies.get(shown.query):
            wrong.append(place)
        if answers and _is_unseen(query, shown, history.callers):
            unanswered.append(place)
        wrong += [place for reply in answers if _is_wrong(query, reply, expected)]
        below += [place for reply in answers if _is_below_floor(query, reply)]
        for reply in answers:
            if _claims_wrongly(query, reply):
                (overtaken if _shows_that_it_is_late(reply) else late).append(place)
        if shown is not None and shown.met and shown.query == place and all(_is_late(query, r) for r in answers):
            late.append(place)
        doubled += [place] * (len(answers) - 1)
    passed = [*_passed(history, queries_group, history.queries, _done(history, dead, of_queries=True))]
    passed += _passed(history, work_group, history.work, _done(history, dead, of_queries=False))
    commits = sum(commit.group in (queries_group, work_group) for commit in history.commits)
    return Findings(
        len(history.queries), commits, tuple(lost), tuple(unanswered), tuple(wrong), tuple(below), tuple(late),
        tuple(overtaken), tuple(doubled), tuple(passed), tuple(_back(history)),
    )  # fmt: skip


def deadline_ms(query: Entry) -> float:
    """When a query's reply should be in the log; infinite for an offline one."""
    absolute, latency = query.number(h.DEADLINE), query.number(h.LATENCY_MS)
    if absolute is not None:
        return absolute
    return math.inf if latency is None else query.at_ms + latency


def is_online(query: Entry) -> bool:
    """Whether a query has a deadline."""
    return not math.isinf(deadline_ms(query))


def in_time(query: Entry, replies: Iterable[Entry]) -> bool:
    """Whether a query was answered `ok` by its deadline."""
    return any(reply.text(h.OUTCOME) == "ok" and not _is_late(query, reply) for reply in replies)


def replies_of(history: History) -> Mapping[str, tuple[Entry, ...]]:
    """Replies by query id, in the order of their append."""
    return {place: tuple(sorted(found, key=lambda r: r.at_ms)) for place, found in _by_query(history.replies).items()}


def open_queries(history: History) -> tuple[Entry, ...]:
    """Queries that have neither a reply nor a dead letter."""
    closed = {reply.query for reply in history.replies} | _dead_letters(history).keys()
    return tuple(query for query in history.queries if query.position not in closed)


def _by_query(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    out: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        out[entry.query].append(entry)
    return out


def _dead_letters(history: History) -> dict[str, float]:
    """When each query got its first dead letter, which names it by where the record stood or by its id."""
    travels = {(w.topic, w.partition, w.offset): w.query for w in (*history.work, *history.returns)}
    out: dict[str, float] = {}
    for letter in history.dead_letters:
        topic, partition, offset = letter.text(TOPIC), letter.number(PARTITION), letter.number(OFFSET)
        places = {letter.query, (letter.key or b"").decode(errors="replace")}
        if partition is not None and offset is not None:
            place = (topic, int(partition), int(offset))
            places |= {f"{topic}-{place[1]}-{place[2]}", travels.get(place, "")}
        for place_or_id in places - {""}:
            out[place_or_id] = min(letter.at_ms, out.get(place_or_id, math.inf))
    return out


def _not_in_log(history: History) -> Iterable[str]:
    places = {query.position for query in history.queries}
    return sorted(history.confirmed - places)


def _for_somebody_else(history: History) -> Iterable[str]:
    """Callers that were shown a reply to a query of another id."""
    sent = {query.position: query.asked for query in history.queries}
    return [told.query for told in history.shown if told.query in sent and told.asked != sent[told.query]]


def _is_unseen(query: Entry, shown: Shown | None, callers: tuple[str, ...]) -> bool:
    """There is a reply, and its caller waited for it in vain."""
    if shown is None:
        return query.asked.startswith(callers)
    return shown.error == QueryTimeout.code


def _is_wrong(query: Entry, reply: Entry, expected: Expected) -> bool:
    if reply.text(h.OUTCOME) != "ok":
        return False
    answer = expected(query, reply.variant)
    if answer is None:
        return True
    length = reply.number(h.CONTENT_LENGTH)
    try:
        outputs = oip.decode_response(reply.value or b"", None if length is None else int(length)).outputs
    except InfaasError:
        return True
    return outputs.keys() != answer.keys() or any(
        outputs[name].shape != values.shape
        or not np.allclose(outputs[name], values, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        for name, values in answer.items()
    )


def _is_below_floor(query: Entry, reply: Entry) -> bool:
    floor, served = query.number(h.MIN_ACCURACY), reply.number(h.ACCURACY)
    strict = query.text(h.STRICT).lower() != "false"
    return strict and reply.text(h.OUTCOME) == "ok" and floor is not None and (served is None or served < floor)


def _is_late(query: Entry, reply: Entry) -> bool:
    return reply.at_ms > deadline_ms(query) + UNTIL_APPENDED_MS


def _claims_wrongly(query: Entry, reply: Entry) -> bool:
    claims = reply.text(h.OUTCOME) == "ok" and reply.text(h.OBJECTIVE_MET) == "true"
    return claims and _is_late(query, reply)


def _shows_that_it_is_late(reply: Entry) -> bool:
    due = reply.number(h.DUE)
    return due is not None and reply.at_ms > due


def _done(history: History, dead: Mapping[str, float], *, of_queries: bool) -> Mapping[str, float]:
    """When each query was first done for those who commit on `queries`, or else on work."""
    out = dict(dead)
    further = history.work if of_queries else history.returns
    for entry in (*history.replies, *further):
        out[entry.query] = min(entry.at_ms, out.get(entry.query, math.inf))
    return out


def _passed(history: History, group: str, records: Iterable[Entry], done: Mapping[str, float]) -> Iterable[str]:
    """Records that a commit passed before they were done."""
    first: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
    for commit in sorted(history.commits, key=lambda c: c.at_ms):
        highest = first[commit.topic, commit.partition]
        if commit.group == group and (not highest or commit.offset > highest[-1][0]):
            highest.append((commit.offset, commit.at_ms))
    of_queries = {query.position for query in history.queries}
    for record in records:
        identity = record.position if record.position in of_queries else record.query
        at = next((ms for offset, ms in first[record.topic, record.partition] if offset > record.offset), math.inf)
        if record.position in of_queries and any(
            begun <= at <= ended + COMMIT_AFTER_MS for begun, ended in history.gaps
        ):
            continue  # what it was dispatched as may have been deleted before it was read
        if identity in of_queries and at < done.get(identity, math.inf):
            yield record.position


def _back(history: History) -> Iterable[str]:
    """Commits below one that the same group had made before."""
    highest: dict[tuple[str, str, int], int] = {}
    for commit in sorted(history.commits, key=lambda c: c.at_ms):
        place = (commit.group, commit.topic, commit.partition)
        if commit.offset < highest.get(place, 0):
            yield f"{commit.group}:{commit.topic}-{commit.partition}@{commit.offset}"
        highest[place] = max(commit.offset, highest.get(place, 0))
