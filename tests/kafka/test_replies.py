"""Replies always end somewhere; addresses are checked."""

import time
from hashlib import sha256

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from infaas.bus.admin import Admin
from infaas.bus.dead_letters import PREFIX, DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.replies import Reply, ReplySender
from infaas.bus.reply_addresses import ReplyAddresses
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.span import SpanReader
from infaas.bus.topic_sizes import AWAY_S, TopicSizes
from infaas.client.reply import Reply as ClientReply
from infaas.schemas.errors import BadReplyAddress, KafkaUnavailable
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.topics import DEAD_LETTERS, REPLIES


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


def test_a_reply_that_its_sender_expected_in_time_and_the_log_got_late_missed_its_objective(settings, outbox):
    reader = ReplyReader(settings, client_id="caller")
    body = b'{"model_name": "m", "outputs": []}'
    for name, due in (("early", "1"), ("in time", "9999999999999"), ("unknown", None)):
        told = [
            ("infaas-query-id", name),
            ("infaas-outcome", "ok"),
            ("infaas-objective-met", "true"),
            ("infaas-due", due),
        ]
        headers = [(key, value) for key, value in told if value is not None]
        outbox.send(reader.topic, value=body, partition=reader.partition, headers=headers)
    met, deadline = {}, time.monotonic() + 20
    while len(met) < 3:
        assert time.monotonic() < deadline
        outbox.poll(0)
        met |= {r.query_id: r.objective_met for r in (ClientReply.of(record, 0.0) for record in reader.poll(0.1))}
    assert met == {"early": False, "in time": True, "unknown": True}
    reader.close()


def read(settings, topic):
    """Everything in a topic of the system."""
    name = settings.names.of(topic)
    admin, reader = Admin(settings, client_id="t"), SpanReader(settings, client_id="t")
    marks = admin.watermarks({name: admin.partitions(name)})
    found = [record for (_, p), (low, end) in marks.items() for record in reader.read(name, p, low, end)]
    reader.close()
    admin.close()
    return found


@pytest.mark.parametrize("address", [ReplyAddress("no-such-topic-at-all", 3), ReplyAddress(None, 64)])
def test_a_reply_whose_address_does_not_exist_goes_to_the_default_topic(settings, outbox, address):
    sender = ReplySender(outbox, settings, dead_letters=DeadLetters(outbox, settings, service="t"))
    done = []
    sender.send(Reply("q", address, b"{}", [("infaas-outcome", b"ok")]), lambda: done.append(1))
    wait(outbox, done)
    (record,) = read(settings, REPLIES)
    assert (record.key, record.value, record.headers) == (b"q", b"{}", [("infaas-outcome", b"ok")])
    assert sender.fallbacks == 1
    assert read(settings, DEAD_LETTERS) == []


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


@pytest.fixture
def narrow(settings):
    """A caller's own topic whose limit, 16 KiB, is far below what a producer sends as one batch."""
    topic = f"own-{settings.topic_prefix}replies"
    admin = Admin(settings, client_id="t")
    admin.make_topics({topic: 1})
    limit = ConfigEntry("max.message.bytes", "16384", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[limit])
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    client.incremental_alter_configs([resource])[resource].result(30)
    yield topic
    admin.delete_topics([topic])
    admin.close()


def test_small_replies_that_go_together_are_not_too_large_for_a_topic_of_the_callers_own(settings, outbox, narrow):
    sender = ReplySender(outbox, settings, dead_letters=DeadLetters(outbox, settings, service="t"))
    reader, done = ReplyReader(settings, client_id="caller", topic=narrow), []
    values = [b"%0200d" % number for number in range(1_000)]
    large = b"x" * 20_000
    outbox.learn(narrow)
    for values_at_once in (values[:500], [large], values[500:]):
        with outbox.together():
            for value in values_at_once:
                headers = [("infaas-outcome", b"ok")]
                sender.send(Reply(value.decode()[-9:], ReplyAddress(narrow, 0), value, headers), lambda: done.append(1))
        assert outbox.flush(30) == 0
    assert len(done) == 1_001, "each is confirmed once"
    records, deadline = [], time.monotonic() + 20
    while len(records) < 1_001 and time.monotonic() < deadline:
        records += reader.poll(0.1)
    reader.close()
    failed = [record.key for record in records if record.header_map["infaas-outcome"] != b"ok"]
    assert failed == [large[-9:]], "what is too large by itself is told so, nobody else"
    assert sorted(record.value for record in records if record.key != large[-9:]) == sorted(values)
    assert sender.fallbacks == 0


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
    assert addresses.check(ReplyAddress(default, 7)) == ReplyAddress(default, 7)


VALUE = bytes(8 * 1024 * 1024)
HEADER = b"h" * 5_000_000


def put_letter(outbox, settings, **more):
    done = []
    DeadLetters(outbox, settings, service="t").put_raw(
        **more, where=("t", 1, 2), stage="decode", cause=ValueError("why"), on_done=lambda: done.append(1)
    )
    wait(outbox, done)
    (letter,) = read(settings, DEAD_LETTERS)
    assert letter.header_map[PREFIX + "exception.message"] == b"why"
    return letter


def test_a_dead_letter_that_fits_is_kept_whole(settings, outbox):
    letter = put_letter(outbox, settings, key=b"k", value=b"v", headers=[("a", b"1"), ("a", b"2")])
    assert (letter.key, letter.value, letter.headers[:2]) == (b"k", b"v", [("a", b"1"), ("a", b"2")])
    assert PREFIX + "truncated" not in letter.header_map


def test_a_dead_letter_with_a_5_mb_header_and_an_8_mib_value_is_cut_and_measured(settings, outbox):
    letter = put_letter(outbox, settings, key=b"k", value=VALUE, headers=[("small", b"s"), ("large", HEADER)])
    found = letter.header_map
    assert letter.key == b"k"
    assert VALUE.startswith(letter.value)
    assert letter.value
    assert found["small"] == b"s"
    assert HEADER.startswith(found["large"])
    assert found[PREFIX + "truncated"] == b"true"
    assert found[PREFIX + "value.bytes"] == str(len(VALUE)).encode()
    assert found[PREFIX + "value.sha256"] == sha256(VALUE).hexdigest().encode()
    assert found[PREFIX + "header"] == f"large: {len(HEADER)} bytes, sha256 {sha256(HEADER).hexdigest()}".encode()


def test_a_dead_letter_with_too_many_headers_keeps_its_account_alone(settings, outbox):
    small = settings.model_copy(update={"kafka": {"message.max.bytes": str(64 * 1024)}})
    tight = Outbox(small, client_id="tight")
    headers = [(f"h{n}", bytes(5000)) for n in range(100)]
    letter = put_letter(tight, settings, key=bytes(3000), value=VALUE, headers=headers)
    tight.close()
    found = letter.header_map
    assert (letter.key, letter.value) == (b"", b"")
    assert all(name.startswith(PREFIX) for name in found)
    assert found[PREFIX + "headers"].startswith(b"100 left out: ")
    assert found[PREFIX + "value.sha256"] == sha256(VALUE).hexdigest().encode()


def test_that_no_broker_answers_is_known_for_a_while_and_no_longer(settings, outbox, monkeypatch):
    """A router meets this at every step: it must not wait for the same silence each time."""
    nowhere = Outbox(settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"}), client_id="nowhere")
    sizes = TopicSizes(nowhere, timeout_s=0.3)
    with pytest.raises(KafkaUnavailable) as first:
        sizes.of("replies")
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(KafkaUnavailable) as again:
            sizes.of("replies")
    assert time.monotonic() - began < 0.3
    assert str(again.value) == str(first.value)
    monkeypatch.setattr(sizes, "_outbox", outbox)
    time.sleep(AWAY_S)
    assert sizes.of("replies") == 0, "asked again, of a broker that is there"
    assert sizes.of(settings.names.of(REPLIES)) == settings.reply_partitions
    nowhere.close(0.1)
