"""What happened around a fault, in the order of the log: each metadata record, and how callers fared meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import orjson

from infaas.bench import checker
from infaas.bench.history import Entry, History
from infaas.schemas import headers as h

BEFORE_MS, AFTER_MS = 500.0, 25_000.0
SLICE_MS = 500.0


def timeline(history: History, metadata: Iterable[Entry], struck_ms: float) -> Iterator[str]:
    """Lines, with times in ms from the fault.

    Args:
        history: of the cell.
        metadata: every record of the store.
        struck_ms: when the fault struck, epoch ms.
    """
    begin, end = struck_ms - BEFORE_MS, struck_ms + AFTER_MS
    events = [(entry.at_ms, _record(entry)) for entry in metadata if begin <= entry.at_ms <= end]
    replies = checker.replies_of(history)
    slices: dict[int, Counter[str]] = {}
    for query in history.queries:
        if begin <= query.at_ms <= end:
            slices.setdefault(int((query.at_ms - begin) // SLICE_MS), Counter())[_fate(query, replies)] += 1
    events += [
        (begin + n * SLICE_MS, "queries: " + ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())))
        for n, fates in slices.items()
    ]
    for at_ms, line in sorted(events):
        yield f"{at_ms - struck_ms:+8.0f}  {line}"


def _fate(query: Entry, replies: Mapping[str, tuple[Entry, ...]]) -> str:
    answers = replies.get(query.position, ())
    if not answers:
        return "open"
    outcome, reason = answers[0].text(h.OUTCOME), answers[0].text(h.REASON)
    kind = "online" if checker.is_online(query) else "offline"
    if outcome != "ok":
        return f"{kind} {outcome} {reason}"
    late = "" if checker.in_time(query, answers) else " late"
    return f"{kind} ok{late} on {answers[0].text(h.WORKER)}"


def _record(entry: Entry) -> str:
    key = (entry.key or b"").decode(errors="replace")
    if entry.value is None:
        return f"{key}: gone"
    record = orjson.loads(entry.value)
    kind = key.partition("/")[0]
    match kind:
        case "assignment":
            owners = [
                p["owner"] and f"{p['owner']['worker']}#{p['owner']['boot_id'][:4]}" for p in record["partitions"]
            ]
            told = str(owners)
        case "instance":
            told = f"{record['state']} taken={record['taken']} released={record['released']} boot={record['boot_id'][:4]} {record['reason']}"
        case "placement":
            told = f"{record['instances']}"
        case "worker":
            told = f"{record['state']} {record['boot_id'][:4]}"
        case "verdict":
            told = f"{record['boot_id'][:4]} {record['reason']}"
        case _:
            told = str(record)[:120]
    return f"{key}: {told}"
