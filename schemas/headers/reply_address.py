"""Where a reply goes, and what it is matched by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infaas.schemas.errors import BadHeader, BadReplyAddress
from infaas.schemas.headers.names import CLOUD_EVENT_ID, CORRELATION, REPLY_TO, REPLY_TO_PARTITION, TRACEPARENT
from infaas.schemas.headers.values import TEXT_LIMIT_BYTES, HeaderMap, text

_ECHOED = {len(name): name for name in (CLOUD_EVENT_ID, TRACEPARENT)}
_PARTITION = re.compile(rb"-?[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a reply goes. `topic` None = the default topic; `partition` None = by key."""

    topic: str | None = None
    partition: int | None = None


def parse_reply_address(headers: HeaderMap) -> ReplyAddress:
    """Reads where the reply goes, in the conventions of AMQP-like clients and of Spring.

    Raises:
        BadReplyAddress: naming the header.
    """
    topic = partition = None
    for name in REPLY_TO:
        if headers.get(name):
            try:
                topic = text(headers[name], name)
            except BadHeader as error:
                raise BadReplyAddress(name, error.expected, error.found) from None
            break
    for name in REPLY_TO_PARTITION:
        if headers.get(name):
            partition = _partition(name, headers[name])
            break
    return ReplyAddress(topic, partition)


def correlation_id(headers: HeaderMap) -> tuple[str, bytes | str] | None:
    """The correlation header as it came, to be echoed under the same name, byte for byte; one over the limit is none."""
    value = None
    for name in CORRELATION:
        if value := headers.get(name):
            return (name, value) if len(value) <= TEXT_LIMIT_BYTES else None
    spelled = {name.lower(): name for name in headers}
    for name in CORRELATION:
        if (other := spelled.get(name.lower())) is not None and (value := headers[other]):
            return (other, value) if len(value) <= TEXT_LIMIT_BYTES else None
    return None


def echoed(headers: HeaderMap) -> list[tuple[str, bytes | str]]:
    """What else of a query's headers its reply carries, in whatever case form they came."""
    out = []
    for given, value in headers.items():
        if len(given) in _ECHOED and value and len(value) <= TEXT_LIMIT_BYTES:
            name = given.lower()
            if name == _ECHOED[len(given)]:
                out.append((name, value))
    return out


def _partition(name: str, value: bytes | str | None) -> int:
    if isinstance(value, bytes) and len(value) == 4 and name == "kafka_replyPartition":
        return int.from_bytes(value, "big", signed=True)
    if isinstance(value, str):
        value = value.encode()
    if value is None or not _PARTITION.fullmatch(value):
        raise BadReplyAddress(name, "a partition: decimal text, or 4 bytes big-endian", value)
    return int(value)
