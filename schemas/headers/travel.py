"""What goes with a query from the router to the worker, and back through `returns`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from infaas.schemas.errors import BadHeader
from infaas.schemas.headers.known import canonical
from infaas.schemas.headers.names import (
    APPENDED_MS,
    ATTEMPT,
    CORRELATION,
    DEADLINE,
    DROP_AFTER,
    EXCLUDED,
    MARK,
    QUERY_ID,
    REPLY_PARTITION,
    REPLY_TOPIC,
    SYSTEM_NAMES,
    TRAVEL_NAMES,
)
from infaas.schemas.headers.reply_address import ReplyAddress
from infaas.schemas.headers.values import (
    HeaderList,
    HeaderMap,
    Headers,
    number,
    number_text,
    or_infinite,
    text,
    value_bytes,
)


@dataclass(slots=True)
class Travel:
    """What goes with a query from the router to the worker, and back through `returns`."""

    query_id: str
    appended_ms: float
    deadline_ms: float = math.inf
    drop_after_ms: float = math.inf
    attempt: int = 0
    excluded: tuple[str, ...] = ()
    mark: str = ""
    """Why a query that is not strict is served although its objective can't be met."""
    reply: ReplyAddress = field(default_factory=ReplyAddress)


def travel_headers(travel: Travel, original: Headers | None) -> HeaderList:
    """The caller's headers under the names that are read, with what travels put in place of all that is the system's."""
    return [*onward_headers(original), *travelling(travel)]


def onward_headers(original: Headers | None) -> HeaderList:
    """The caller's headers under the names that are read, without all that is the system's."""
    out: HeaderList = []
    for name, value in original or ():
        known = canonical(name)
        if known not in TRAVEL_NAMES and known not in SYSTEM_NAMES and (value or known == name):
            out.append((name if known in CORRELATION else known, value_bytes(value)))
    return out


def travelling(travel: Travel) -> HeaderList:
    """What travels, as headers."""
    out: HeaderList = [(QUERY_ID, travel.query_id.encode()), (APPENDED_MS, number_text(travel.appended_ms))]
    if travel.deadline_ms != math.inf:
        deadline = number_text(travel.deadline_ms)
        out.append((DEADLINE, deadline))
        if travel.drop_after_ms == travel.deadline_ms:
            out.append((DROP_AFTER, deadline))
    if travel.drop_after_ms not in (math.inf, travel.deadline_ms):
        out.append((DROP_AFTER, number_text(travel.drop_after_ms)))
    if travel.attempt:
        out.append((ATTEMPT, str(travel.attempt).encode()))
    if travel.excluded:
        out.append((EXCLUDED, ",".join(travel.excluded).encode()))
    if travel.mark:
        out.append((MARK, travel.mark.encode()))
    if travel.reply.topic is not None:
        out.append((REPLY_TOPIC, travel.reply.topic.encode()))
    if travel.reply.partition is not None:
        out.append((REPLY_PARTITION, str(travel.reply.partition).encode()))
    return out


def parse_travel(headers: HeaderMap) -> Travel:
    """Reads what the router wrote with `travel_headers`.

    Raises:
        BadHeader: naming the header; without a query id it is not the router's.
    """
    topic, partition = headers.get(REPLY_TOPIC), headers.get(REPLY_PARTITION)
    excluded = headers.get(EXCLUDED)
    return Travel(
        query_id=_identity(headers),
        appended_ms=number(headers, APPENDED_MS, 0.0, 1e15) or 0.0,
        deadline_ms=or_infinite(number(headers, DEADLINE, 0.0, 1e15)),
        drop_after_ms=or_infinite(number(headers, DROP_AFTER, 0.0, 1e15)),
        attempt=int(number(headers, ATTEMPT, 0.0, 1e6) or 0),
        excluded=tuple(filter(None, text(excluded, EXCLUDED).split(","))) if excluded else (),
        mark=text(headers.get(MARK), MARK),
        reply=ReplyAddress(
            None if topic is None else text(topic, REPLY_TOPIC),
            None if partition is None else int(number(headers, REPLY_PARTITION, 0.0, 2**31) or 0),
        ),
    )


def _identity(headers: HeaderMap) -> str:
    identity = text(headers.get(QUERY_ID), QUERY_ID)
    if not identity:
        raise BadHeader(QUERY_ID, "a query id", "nothing")
    return identity
