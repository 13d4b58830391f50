"""Where a caller wants a reply: checked before anything is done for the query, so that nothing is answered where nobody may write."""

from __future__ import annotations

import re

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.topic_sizes import TopicSizes
from infaas.schemas.errors import BadReplyAddress
from infaas.schemas.headers import REPLY_TO, REPLY_TO_PARTITION, ReplyAddress
from infaas.schemas.topics import REPLIES

KAFKA_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class ReplyAddresses:
    """Says whether a reply may go where a caller wants it.

    Args:
        outbox: asked for topics.
        settings: of the cell.
        allowed: pattern a topic's full name has to match; None = any that is not internal.
    """

    def __init__(self, outbox: Outbox, settings: BusSettings, *, allowed: str | None = None) -> None:
        self._names, self._sizes = settings.names, TopicSizes(outbox)
        self._default = settings.names.of(REPLIES)
        self._allowed = re.compile(allowed) if allowed else None

    def check(self, address: ReplyAddress) -> ReplyAddress:
        """Returns the address with its topic filled in.

        Raises:
            BadReplyAddress: naming the header and what is wrong.
            KafkaUnavailable: nobody says whether the topic is there.
        """
        topic = self._default if address.topic is None else address.topic
        if topic != self._default:
            if not KAFKA_NAME.fullmatch(topic):
                raise BadReplyAddress(REPLY_TO[0], "a topic's name", topic)
            if self._names.is_internal(topic):
                raise BadReplyAddress(REPLY_TO[0], "a topic that is not internal", topic)
            if self._allowed is not None and not self._allowed.fullmatch(topic):
                raise BadReplyAddress(REPLY_TO[0], f"a topic that matches {self._allowed.pattern}", topic)
        if topic == self._default and address.partition is None:
            return ReplyAddress(topic)
        partitions = self._sizes.of(topic)
        if partitions == 0:
            raise BadReplyAddress(REPLY_TO[0], "a topic that exists", topic)
        if address.partition is not None and not 0 <= address.partition < partitions:
            raise BadReplyAddress(REPLY_TO_PARTITION[0], f"a partition from 0 to {partitions - 1}", address.partition)
        return ReplyAddress(topic, address.partition)
