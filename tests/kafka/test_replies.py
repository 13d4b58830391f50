"""Replies always end somewhere; addresses are checked."""

import time

import pytest

from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.replies import Reply, ReplyAddresses, ReplyReader, ReplySender
from infaas.schemas.errors import BadReplyAddress
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.topics import REPLIES


@pytest.fixture
def outbox(settings):
    one = Outbox(settings, client_id="t")
    yield one
    one.close()


def wait(outbox, done):
    deadline = time.monotonic() + 20
    while not done:
        assert time.monotonic() < deadline
        outbox.poll(0.05)


def test_a_reply_reaches_the_partition_its_reader_has_taken(settings, outbox):
    reader = ReplyReader(settings, client_id="caller")
    sender = ReplySender(outbox, settings, dead_letters=DeadLetters(outbox, settings, service="t"))
    done = []
    sender.send(
        Reply("q", ReplyAddress(None, reader.partition), b"{}", [("correlation-id", b"\xff")]), lambda: done.append(1)
    )
    wait(outbox, done)
    (record,) = reader.poll(10)
    assert (record.key, record.headers) == (b"q", [("correlation-id", b"\xff")])
    reader.close()


def test_a_reply_that_can_not_be_delivered_goes_to_the_default_topic(settings, outbox):
    sender = ReplySender(outbox, settings, dead_letters=DeadLetters(outbox, settings, service="t"))
    done = []
    sender.send(Reply("q", ReplyAddress("no-such-topic-at-all", 3), b"{}", []), lambda: done.append(1))
    wait(outbox, done)
    assert sender.fallbacks == 1


def test_a_reply_that_is_too_large_becomes_an_error(settings, outbox):
    reader = ReplyReader(settings, client_id="caller")
    sender = ReplySender(outbox, settings, dead_letters=DeadLetters(outbox, settings, service="t"))
    done = []
    value = b"x" * (settings.max_query_bytes + 3 * 1024 * 1024)
    sender.send(
        Reply("q", ReplyAddress(None, reader.partition), value, [("infaas-outcome", b"ok")]), lambda: done.append(1)
    )
    wait(outbox, done)
    (record,) = reader.poll(10)
    assert record.header_map["infaas-outcome"] == b"failed"
    assert b"too_large" in record.value
    reader.close()


BAD = {
    "no name": (ReplyAddress("a b"), "reply-to"),
    "internal": (ReplyAddress("{prefix}metadata"), "reply-to"),
    "Kafka's own": (ReplyAddress("__consumer_offsets"), "reply-to"),
    "not allowed": (ReplyAddress("elsewhere"), "reply-to"),
    "not there": (ReplyAddress("mine-but-not-there"), "reply-to"),
    "no such partition": (ReplyAddress(None, 64), "reply-partition"),
    "negative": (ReplyAddress(None, -2), "reply-partition"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_addresses_are_refused_by_name(settings, outbox, name):
    address, field = BAD[name]
    if address.topic:
        address = ReplyAddress(address.topic.format(prefix=settings.topic_prefix), address.partition)
    with pytest.raises(BadReplyAddress) as caught:
        ReplyAddresses(outbox, settings, allowed="mine.*").check(address)
    assert caught.value.field == field


def test_good_addresses_get_their_topic(settings, outbox):
    addresses = ReplyAddresses(outbox, settings)
    default = settings.names.of(REPLIES)
    assert addresses.check(ReplyAddress()) == ReplyAddress(default)
    assert addresses.check(ReplyAddress(default, 63)) == ReplyAddress(default, 63)
