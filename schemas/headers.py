"""Record headers: what a caller asks for, where the reply goes, what travels with a query, what a reply tells.

All headers are UTF-8 text but Spring's reply partition (4 bytes, big-endian) and the correlation id (the caller's bytes).
One parser each way; no header's name stands anywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from infaas.schemas.errors import BadHeader, BadReplyAddress
from infaas.schemas.names import VariantId, check_name

Headers = Sequence[tuple[str, bytes | str | None]]
HeaderList = list[tuple[str, bytes]]

APPLICATION = "infaas-application"
ARCHITECTURE = "infaas-architecture"
VARIANT = "infaas-variant"
LATENCY_MS = "infaas-latency-ms"
MIN_ACCURACY = "infaas-min-accuracy"
MAX_COST = "infaas-max-cost"
OPTIMIZE = "infaas-optimize"
STRICT = "infaas-strict"
LATE_LIMIT_MS = "infaas-late-limit-ms"
DEADLINE = "infaas-deadline"
EXPLAIN = "infaas-explain"

CONTENT_LENGTH = "inference-header-content-length"
CLAIM_CHECK = "infaas-claim-check"
TRACEPARENT = "traceparent"
CLOUD_EVENT_ID = "ce_id"

QUERY_ID = "infaas-query-id"
APPENDED_MS = "infaas-appended-ms"
DROP_AFTER = "infaas-drop-after"
ATTEMPT = "infaas-attempt"
EXCLUDED = "infaas-excluded"
MARK = "infaas-mark"
REPLY_TOPIC = "infaas-reply-topic"
REPLY_PARTITION = "infaas-reply-partition"

OUTCOME = "infaas-outcome"
WORKER = "infaas-worker"
ACCURACY = "infaas-accuracy"
QUEUE_MS = "infaas-queue-ms"
INFERENCE_MS = "infaas-inference-ms"
BATCH_SIZE = "infaas-batch-size"
COST = "infaas-cost"
OBJECTIVE_MET = "infaas-objective-met"
REASON = "infaas-reason"
SUGGESTION = "infaas-suggestion"

EPOCH = "infaas-epoch"
BOOT_ID = "infaas-boot-id"

REPLY_TO = ("reply-to", "reply_to", "kafka_replyTopic")
REPLY_TO_PARTITION = ("reply-partition", "kafka_replyPartition")
CORRELATION = ("correlation-id", "correlation_id", "kafka_correlationId")

ScopeKind = Literal["application", "architecture", "variant"]
Optimize = Literal["cost", "accuracy", "latency"]
Outcome = Literal["ok", "rejected", "expired", "failed"]
SCOPES: Mapping[ScopeKind, str] = {"application": APPLICATION, "architecture": ARCHITECTURE, "variant": VARIANT}
OPTIMIZE_VALUES: tuple[Optimize, ...] = ("cost", "accuracy", "latency")
LATE_LIMIT_FACTOR = 10
MAX_LATENCY_MS = 86_400_000.0
_OBJECTIVE_NAMES = (LATENCY_MS, MIN_ACCURACY, MAX_COST, OPTIMIZE, STRICT, LATE_LIMIT_MS, DEADLINE, EXPLAIN)


@dataclass(frozen=True, slots=True)
class Objective:
    """What a caller asks for; hashable, so that like queries can be selected once."""

    scope: ScopeKind
    name: str
    latency_ms: float | None = None
    """From the append to `queries` to the reply; None = an offline query, served when there is room."""
    min_accuracy: float = 0.0
    max_cost: float = math.inf
    """USD per 1,000 queries, at the catalogue price."""
    optimize: Optimize = "cost"
    strict: bool = True
    """Refuse what can't be met and drop what is late; else serve the closest, late up to `late_limit_ms`, and mark it."""
    late_limit_ms: float | None = None
    deadline_ms: float | None = None
    """The caller's absolute deadline, epoch ms of the broker's clock; else append time + `latency_ms`."""
    explain: bool = False

    def deadline(self, appended_ms: float) -> float:
        """When the reply should be there, epoch ms; infinite for an offline query."""
        if self.deadline_ms is not None:
            return self.deadline_ms
        return math.inf if self.latency_ms is None else appended_ms + self.latency_ms

    def drop_after(self, appended_ms: float) -> float:
        """When nobody wants the reply any more, epoch ms."""
        deadline = self.deadline(appended_ms)
        if self.strict or math.isinf(deadline):
            return deadline
        span = max(0.0, deadline - appended_ms)
        limit = self.late_limit_ms if self.late_limit_ms is not None else LATE_LIMIT_FACTOR * span
        return appended_ms + max(limit, span)

    @property
    def offline(self) -> bool:
        """No latency objective and no deadline: served when there is room."""
        return self.latency_ms is None and self.deadline_ms is None


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a reply goes. `topic` None = the default topic; `partition` None = by key."""

    topic: str | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Travel:
    """What goes with a query from the router to the worker, and back to `queries` when it is returned."""

    query_id: str
    appended_ms: float
    deadline_ms: float = math.inf
    drop_after_ms: float = math.inf
    attempt: int = 0
    excluded: tuple[str, ...] = ()
    mark: str = ""
    """Why a query that is not strict is served although its objective can't be met."""
    reply: ReplyAddress = field(default_factory=ReplyAddress)


def text(value: bytes | str | None, name: str) -> str:
    """A header's value as text.

    Raises:
        BadHeader: if it is no UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadHeader(name, "UTF-8 text", value) from None


def as_map(headers: Headers | None) -> dict[str, bytes | str | None]:
    """Headers by name; of a name that comes twice the last counts, as in Kafka's `lastHeader`."""
    return dict(headers) if headers else {}


def has_scope(found: Mapping[str, object]) -> bool:
    """Whether headers say what is asked for, so that the body need not be read."""
    return APPLICATION in found or ARCHITECTURE in found or VARIANT in found


def parse_objective(found: Mapping[str, bytes | str | None]) -> Objective:
    """Reads an objective out of headers.

    Raises:
        BadHeader, BadName: naming the header and what was expected.
    """
    scope, name = _scope(found)
    if not any(header in found for header in _OBJECTIVE_NAMES):  # a name alone is common and quick to read
        return Objective(scope, name)
    latency = _number(found, LATENCY_MS, 0.0, MAX_LATENCY_MS, above=True)
    late = _number(found, LATE_LIMIT_MS, 0.0, MAX_LATENCY_MS)
    return Objective(
        scope=scope,
        name=name,
        latency_ms=latency,
        min_accuracy=_number(found, MIN_ACCURACY, 0.0, 1.0) or 0.0,
        max_cost=math.inf if (cost := _number(found, MAX_COST, 0.0, math.inf)) is None else cost,
        optimize=_optimize(found),
        strict=_flag(found, STRICT, default=True),
        late_limit_ms=late,
        deadline_ms=_number(found, DEADLINE, 0.0, 1e15),
        explain=_flag(found, EXPLAIN, default=False),
    )


def objective_from_parameters(parameters: Mapping[str, object]) -> Objective:
    """Reads an objective out of a body's `parameters`: the headers' names without prefix, with `_` or `-`.

    Raises:
        BadHeader, BadName: naming the parameter and what was expected.
    """
    found: dict[str, bytes | str | None] = {}
    for key, value in parameters.items():
        header = "infaas-" + key.replace("_", "-")
        if header in _OBJECTIVE_NAMES or header in SCOPES.values():
            if not isinstance(value, str | int | float | bool):
                raise BadHeader(f"parameters.{key}", "text, a number or a boolean", value)
            found[header] = str(value).lower() if isinstance(value, bool) else str(value)
    return parse_objective(found)


def objective_headers(objective: Objective) -> HeaderList:
    """The headers that say this objective."""
    out: HeaderList = [(SCOPES[objective.scope], objective.name.encode())]
    if objective.latency_ms is not None:
        out.append((LATENCY_MS, _text(objective.latency_ms)))
    if objective.min_accuracy:
        out.append((MIN_ACCURACY, _text(objective.min_accuracy)))
    if not math.isinf(objective.max_cost):
        out.append((MAX_COST, _text(objective.max_cost)))
    if objective.optimize != "cost":
        out.append((OPTIMIZE, objective.optimize.encode()))
    if not objective.strict:
        out.append((STRICT, b"false"))
    if objective.late_limit_ms is not None:
        out.append((LATE_LIMIT_MS, _text(objective.late_limit_ms)))
    if objective.deadline_ms is not None:
        out.append((DEADLINE, _text(objective.deadline_ms)))
    if objective.explain:
        out.append((EXPLAIN, b"true"))
    return out


def parse_reply_address(found: Mapping[str, bytes | str | None]) -> ReplyAddress:
    """Reads where the reply goes, in the conventions of AMQP-like clients and of Spring.

    Raises:
        BadReplyAddress: naming the header.
    """
    topic = partition = None
    for name in REPLY_TO:
        if name in found:
            try:
                topic = text(found[name], name)
            except BadHeader as error:
                raise BadReplyAddress(name, error.expected, error.found) from None
            break
    for name in REPLY_TO_PARTITION:
        if name in found:
            partition = _partition(name, found[name])
            break
    return ReplyAddress(topic, partition)


def correlation_id(found: Mapping[str, bytes | str | None]) -> tuple[str, bytes | str | None] | None:
    """The correlation header as it came, to be echoed under the same name, byte for byte."""
    for name in CORRELATION:
        if name in found:
            return name, found[name]
    return None


TRAVEL_NAMES = frozenset(
    {QUERY_ID, APPENDED_MS, DROP_AFTER, ATTEMPT, EXCLUDED, MARK, REPLY_TOPIC, REPLY_PARTITION, DEADLINE}
)


def travel_headers(travel: Travel, original: Headers | None) -> HeaderList:
    """The caller's headers, with what travels put in place of older travel headers."""
    out: HeaderList = [(name, _bytes(value)) for name, value in original or () if name not in TRAVEL_NAMES]
    out.append((QUERY_ID, travel.query_id.encode()))
    out.append((APPENDED_MS, _text(travel.appended_ms)))
    if not math.isinf(travel.deadline_ms):
        out.append((DEADLINE, _text(travel.deadline_ms)))
    if not math.isinf(travel.drop_after_ms):
        out.append((DROP_AFTER, _text(travel.drop_after_ms)))
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


def parse_travel(found: Mapping[str, bytes | str | None]) -> Travel:
    """Reads what the router wrote with `travel_headers`.

    Raises:
        BadHeader: naming the header.
    """
    return Travel(
        query_id=text(found.get(QUERY_ID), QUERY_ID),
        appended_ms=_number(found, APPENDED_MS, 0.0, 1e15) or 0.0,
        deadline_ms=_or_infinite(_number(found, DEADLINE, 0.0, 1e15)),
        drop_after_ms=_or_infinite(_number(found, DROP_AFTER, 0.0, 1e15)),
        attempt=int(_number(found, ATTEMPT, 0.0, 1e6) or 0),
        excluded=tuple(filter(None, text(found.get(EXCLUDED), EXCLUDED).split(","))),
        mark=text(found.get(MARK), MARK),
        reply=ReplyAddress(
            text(found[REPLY_TOPIC], REPLY_TOPIC) if REPLY_TOPIC in found else None,
            int(_number(found, REPLY_PARTITION, 0.0, 2**31) or 0) if REPLY_PARTITION in found else None,
        ),
    )


def epoch_headers(epoch: int) -> HeaderList:
    """The writer's epoch, on every metadata record of a leader: in a header, so that a tombstone carries it too."""
    return [(EPOCH, str(epoch).encode())]


def boot_headers(boot_id: str) -> HeaderList:
    """The writer's boot id, on every metadata record of a worker."""
    return [(BOOT_ID, boot_id.encode())]


def headers_of(pairs: Iterable[tuple[str, object]]) -> HeaderList:
    """Headers from values as they are: text, numbers, booleans, bytes; None is left out."""
    return [(name, _bytes(value)) for name, value in pairs if value is not None]


def _scope(found: Mapping[str, bytes | str | None]) -> tuple[ScopeKind, str]:
    given = [(kind, header) for kind, header in SCOPES.items() if header in found]
    if len(given) != 1:
        expected = f"exactly one of {', '.join(SCOPES.values())}"
        raise BadHeader("scope", expected, [header for _, header in given] or "none of them")
    kind, header = given[0]
    name = text(found[header], header)
    if kind == "variant":
        VariantId.parse(name)
        return kind, name
    return kind, check_name(header, name)


def _number(
    found: Mapping[str, bytes | str | None], name: str, low: float, high: float, *, above: bool = False
) -> float | None:
    if name not in found:
        return None
    raw = text(found[name], name)
    expected = f"a number {'above' if above else 'from'} {low:g} to {high:g}"
    try:
        value = float(raw)
    except ValueError:
        raise BadHeader(name, expected, raw) from None
    if not low <= value <= high or (above and value == low):
        raise BadHeader(name, expected, raw)
    return value


def _flag(found: Mapping[str, bytes | str | None], name: str, *, default: bool) -> bool:
    if name not in found:
        return default
    raw = text(found[name], name).lower()
    if raw not in ("true", "false"):
        raise BadHeader(name, "true or false", raw)
    return raw == "true"


def _optimize(found: Mapping[str, bytes | str | None]) -> Optimize:
    if OPTIMIZE not in found:
        return "cost"
    raw = text(found[OPTIMIZE], OPTIMIZE)
    for value in OPTIMIZE_VALUES:
        if raw == value:
            return value
    raise BadHeader(OPTIMIZE, "one of " + ", ".join(OPTIMIZE_VALUES), raw)


def _partition(name: str, value: bytes | str | None) -> int:
    if isinstance(value, bytes) and len(value) == 4 and name == "kafka_replyPartition":
        return int.from_bytes(value, "big", signed=True)
    try:
        return int(text(value, name))
    except (ValueError, BadHeader):
        raise BadReplyAddress(name, "a partition: decimal text, or 4 bytes big-endian", value) from None


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def _text(value: float) -> bytes:
    return repr(float(value)).removesuffix(".0").encode()


def _bytes(value: object) -> bytes:
    match value:
        case None:
            return b""
        case bytes():
            return value
        case bool():
            return b"true" if value else b"false"
        case float():
            return _text(value)
        case _:
            return str(value).encode()
