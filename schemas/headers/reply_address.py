"""Where a reply goes, and what it is matched by."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.schemas.errors import BadHeader, BadReplyAddress
from infaas.schemas.headers.names import CORRELATION, REPLY_TO, REPLY_TO_PARTITION
from infaas.schemas.headers.values import HeaderMap, text


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a reply goes. `topic` None = the default topic; `partition` None = by key."""

    topic: str | None = None
    partition: int | None = None


def parse_reply_address(found: HeaderMap) -> ReplyAddress:
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


def correlation_id(found: HeaderMap) -> tuple[str, bytes | str | None] | None:
    """The correlation header as it came, to be echoed under the same name, byte for byte."""
    for name in CORRELATION:
        if name in found:
            return name, found[name]
    return None


def _partition(name: str, value: bytes | str | None) -> int:
    if isinstance(value, bytes) and len(value) == 4 and name == "kafka_replyPartition":
        return int.from_bytes(value, "big", signed=True)
    try:
        return int(text(value, name))
    except (ValueError, BadHeader):
        raise BadReplyAddress(name, "a partition: decimal text, or 4 bytes big-endian", value) from None
