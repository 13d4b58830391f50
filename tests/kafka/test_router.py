"""A router on real Kafka: whatever one query is, it is that query's, and what travels is the system's to say."""

import math
import signal
import sys
import time

import pytest
from cell import VARIANT, Cell, outcome, reason
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from processes import start
from raw_producer import RawProducer
from topic_reader import TopicReader

from infaas.bus.admin import Admin
from infaas.bus.settings import BusSettings
from infaas.router.loop import Router
from infaas.router.ration import MOST_A_SECOND
from infaas.router.settings import RouterSettings
from infaas.schemas import decisions
from infaas.schemas.errors import BadHeader
from infaas.schemas.headers import ReplyAddress, Travel, parse_travel, travel_headers
from infaas.schemas.metadata import Hardware, Instance, Owner, Worker
from infaas.schemas.topics import DEAD_LETTERS, DECISIONS, QUERIES, REPLIES, RETURNS
from infaas.store.facts import FactWriter

BODY = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
MEGABYTE = 1_000_000


@pytest.fixture
def cell(settings):
    one = Cell(settings)
    one.admin = Admin(settings, client_id="test")
    one.admin.ensure_variant_topics(VARIANT)
    one.publish("sha256:" + "0" * 64)
    one.letters = reader(one, settings.names.of(DEAD_LETTERS))
    one.all_replies = reader(one, settings.names.of(REPLIES))
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()
    one.admin.close()


def reader(cell, topic):
    one = TopicReader(cell.settings, topic)
    cell.others.append(one)
    return one


def router(cell, **more):
    one = Router(settings=more.pop("settings", cell.settings), own=RouterSettings(**more))
    cell.others.append(one)
    return one


def reply_to(cell, record_id):
    """The reply to the query of this id, wherever it is."""
    found = [r for r in cell.all_replies.records if r.header_map.get("infaas-query-id") == record_id.encode()]
    return found[0] if found else None


def cause(letter):
    return letter.header_map["__connect.errors.exception.message"].decode()


POISON = {
    "a length that only looks like a number": ([(b"inference-header-content-length", "²".encode())], BODY),
    "a length of ten thousand digits": ([(b"inference-header-content-length", b"9" * 4_000)], BODY),
    "a header name that is no UTF-8": ([(b"\xff\xfe", b"x"), (b"infaas-application", b"numbers")], BODY),
    "a header of five megabytes": ([(b"infaas-application", b"numbers"), (b"infaas-query-id", b"x" * 5 * MEGABYTE)], BODY),
    "a scope of a megabyte": ([(b"infaas-application", b"n" * MEGABYTE)], BODY),
    "a correlation of a megabyte": ([(b"infaas-application", b"numbers"), (b"correlation-id", b"c" * MEGABYTE)], BODY),
    "a body that is no JSON": ([], b"\x00\xff{"),
    "a body nested without end": ([], b"[" * 100_000),
    "no body": ([], b""),
    "parameters that are a list": ([], b'{"parameters":[1]}'),
    "a latency in another script": ([(b"infaas-application", b"numbers"), (b"infaas-latency-ms", "٢٠".encode())], BODY),
    "a latency with an underscore": ([(b"infaas-application", b"numbers"), (b"infaas-latency-ms", b"1_000")], BODY),
}  # fmt: skip


def test_a_query_that_cannot_be_read_is_answered_and_dead_lettered_and_its_neighbours_are_served(cell):
    router(cell)
    with RawProducer(cell.settings.bootstrap_servers) as raw:
        for n, (headers, body) in enumerate(POISON.values()):
            raw.send(cell.settings.names.of(QUERIES), value=body, key=b"", headers=headers)
            cell.send(f"good{n}", application="numbers")
    for n in range(len(POISON)):
        assert reason(cell.answer(f"good{n}")) == "no_room"
    cell.until(lambda: len(cell.letters.records) >= len(POISON), "the dead letters")
    assert len(cell.letters.records) == len(POISON)
    for letter in cell.letters.records:
        where = [letter.header_map[f"__connect.errors.{part}"] for part in ("topic", "partition", "offset")]
        identity = b"-".join(where).decode()
        cell.until(lambda identity=identity: reply_to(cell, identity) is not None, f"the reply to {identity}")
        assert outcome(reply_to(cell, identity)) in ("rejected", "failed")


def test_a_header_name_that_is_no_utf8_is_bad_input_also_where_the_interpreter_has_specialised_the_call(cell):
    """In hot code CPython does not look for an exception that a C method leaves behind: the record had a hole in its headers."""
    topic = cell.settings.names.of(QUERIES)
    seen = reader(cell, topic)
    with RawProducer(cell.settings.bootstrap_servers) as raw:
        for _ in range(60):
            cell.outbox.send(topic, value=b"", headers=[("a", b"1")], partition=0)
        cell.until(lambda: not cell.outbox.pending, "all sent")
        raw.send(topic, value=b"v", key=b"k", headers=[(b"a", b"1"), (b"\xff\xfe", b"x")])
    cell.until(lambda: len(seen.records) == 61, "all records")
    bad = []
    for record in seen.records:
        try:
            assert record.headers == [("a", b"1")]
        except BadHeader:
            bad.append(record)
    (record,) = bad
    assert (record.key, record.value, record.legible_headers) == (b"k", b"v", [])
    with pytest.raises(BadHeader):
        _ = record.header_map


def placeable(cell):
    """A worker that could hold the variant, so that a query for it is sent to its topic though nothing runs there."""
    facts = FactWriter(cell.outbox, cell.settings, "b1")
    hardware = Hardware(cores=1, memory_bytes=10**9)
    facts.write(Worker(worker="w", boot_id="b1", machine_type="local", hardware=hardware, price_per_hour=0.1))
    cell.until(lambda: cell.table.view().live_workers, "the worker")
    cell.work = reader(cell, cell.settings.names.work(VARIANT))
    return facts


def tags(cell):
    return [record.header_map["correlation-id"].decode() for record in cell.work.records]


def test_what_travels_is_not_the_callers_to_say(cell):
    placeable(cell)
    router(cell)
    forged = [("infaas-query-id", b"someone-elses-1"), ("infaas-attempt", b"2"), ("infaas-excluded", VARIANT.encode()),
              ("Infaas-Drop-After", b"1"), ("infaas-appended-ms", b"1"), ("infaas-mark", b"latency"),
              ("infaas-reply-topic", b"elsewhere"), ("infaas-outcome", b"ok"), ("infaas-served-variant", b"x")]  # fmt: skip
    cell.send("forged", application="numbers", latency_ms=60_000, headers=forged)
    cell.send("attempt alone", application="numbers", latency_ms=60_000, headers=[("infaas-attempt", b"3")])
    cell.send("misspelled", application="numbers", headers=[("infaas-latency", b"20")])
    assert (outcome(cell.answer("misspelled")), reason(cell.answer("misspelled"))) == ("rejected", "bad_header")
    assert b"infaas-latency-ms" in cell.answer("misspelled").value
    cell.until(lambda: len(cell.work.records) == 2, "the work")
    for record in cell.work.records:
        travel = parse_travel(record.header_map)
        assert travel.query_id.startswith(cell.settings.names.of(QUERIES) + "-")
        assert travel.deadline_ms == travel.drop_after_ms == travel.appended_ms + 60_000
        assert (travel.attempt, travel.excluded, travel.mark) == (0, (), "")
        assert travel.reply == ReplyAddress(cell.settings.names.of(REPLIES), cell.replies.partition)
        assert "infaas-outcome" not in record.header_map


def give_back(cell, tag, **more):
    """A query as the scaler returns it."""
    address = ReplyAddress(cell.settings.names.of(REPLIES), cell.replies.partition)
    travel = Travel(query_id=f"queries-{tag}", appended_ms=time.time() * 1000, reply=address, **more)
    headers = travel_headers(travel, [("infaas-application", b"numbers"), ("correlation-id", tag.encode())])
    cell.outbox.send(cell.settings.names.of(RETURNS), key=travel.query_id, value=BODY, headers=headers)
    return travel


def test_a_returned_query_keeps_what_travelled_and_ends_after_three_attempts(cell):
    placeable(cell)
    router(cell)
    later = time.time() * 1000 + 60_000
    sent = give_back(
        cell, "a", attempt=1, excluded=("other.v1.onnxruntime-cpu1-fp32",), deadline_ms=later, drop_after_ms=later
    )
    give_back(cell, "b", attempt=1, excluded=(VARIANT,), deadline_ms=later, drop_after_ms=later)
    give_back(cell, "c", attempt=3, deadline_ms=later, drop_after_ms=later)
    assert (outcome(cell.answer("b")), reason(cell.answer("b"))) == ("rejected", "no_variant")
    assert (outcome(cell.answer("c")), reason(cell.answer("c"))) == ("failed", "no_instance")
    assert cell.answer("c").header_map["infaas-query-id"] == b"queries-c"
    cell.until(lambda: cell.work.records, "the work")
    (record,) = cell.work.records
    assert parse_travel(record.header_map) == sent


MALFORMED = {
    "no headers": [],
    "no query id": [(b"infaas-application", b"numbers"), (b"infaas-attempt", b"1")],
    "no attempt": [(b"infaas-application", b"numbers"), (b"infaas-query-id", b"q")],
    "an attempt that is no number": [(b"infaas-query-id", b"q2"), (b"infaas-attempt", "²".encode())],
    "a query id of five megabytes": [(b"infaas-query-id", b"q" * 5 * MEGABYTE), (b"infaas-attempt", b"1")],
    "a reply topic that is none": [
        (b"infaas-query-id", b"q3"),
        (b"infaas-attempt", b"1"),
        (b"infaas-reply-topic", b"\x00/"),
    ],
    "a name that is no UTF-8": [(b"infaas-query-id", b"q4"), (b"\xff", b"1")],
}


def test_a_malformed_return_has_failed_and_is_dead_lettered(cell):
    router(cell)
    with RawProducer(cell.settings.bootstrap_servers) as raw:
        for headers in MALFORMED.values():
            raw.send(cell.settings.names.of(RETURNS), value=BODY, headers=headers)
    cell.until(lambda: len(cell.letters.records) == len(cell.all_replies.records) == len(MALFORMED), "an end for each")
    assert {outcome(record) for record in cell.all_replies.records} == {"failed"}
    cell.send("good", application="numbers")
    assert reason(cell.answer("good")) == "no_room"


def test_what_nobody_expected_is_that_querys_end(cell, monkeypatch):
    placeable(cell)
    monkeypatch.setattr("infaas.router.judgement.select", lambda *_: 1 / 0)
    router(cell)
    cell.send("a", application="numbers")
    assert (outcome(cell.answer("a")), reason(cell.answer("a"))) == ("failed", "internal")
    cell.until(lambda: cell.letters.records, "the dead letter")
    assert b"ZeroDivisionError" in cell.letters.records[0].header_map["__connect.errors.exception.class.name"]
    monkeypatch.undo()
    cell.send("b", application="numbers", latency_ms=60_000)
    cell.until(lambda: tags(cell) == ["b"], "the next one")


def test_whatever_a_router_refuses_leaves_a_decision_record_with_its_inputs(cell):
    placeable(cell)
    decided = reader(cell, cell.settings.names.of(DECISIONS))
    router(cell, sample=0.0)
    now = time.time() * 1000
    cell.send("late", application="numbers", latency_ms=20, deadline=int(now - 5_000))
    cell.send("accurate", application="numbers", min_accuracy=0.99)
    cell.send("unknown", application="letters")
    cell.send("misspelled", application="numbers", headers=[("infaas-latency", b"20")])
    cell.send("served", application="numbers", latency_ms=60_000)
    give_back(cell, "returned", attempt=3, deadline_ms=now + 60_000, drop_after_ms=now + 60_000)
    expected = {
        "late": ("Expire", "expired"),
        "accurate": ("Reject", "accuracy"),
        "unknown": ("Reject", "unknown_application"),
        "misspelled": ("Reject", "bad_header"),
        "returned": ("Fail", "no_instance"),
    }
    ids = {tag: cell.answer(tag).header_map["infaas-query-id"] for tag in expected}
    cell.until(lambda: len(decided.records) >= len(expected), "the records")
    records = {record.key: decisions.decode(record.value) for record in decided.records}
    assert {tag: (records[ids[tag]].decision, records[ids[tag]].inputs["found"]) for tag in expected} == expected
    assert len(records) == len(expected), "of dispatches a sample, here none"
    late = records[ids["late"]]
    assert late.inputs["asked"]["application"] == "numbers"
    assert late.inputs["asked"]["left_ms"] <= -5_000
    assert [candidate["variant"] for candidate in late.inputs["candidates"]] == [VARIANT]
    assert "the deadline passed" in late.reason


def test_a_body_says_where_the_reply_goes_and_what_it_is_matched_by(cell):
    placeable(cell)
    router(cell)
    topic, partition = cell.settings.names.of(REPLIES), cell.replies.partition
    for tag, scope in (("served", "numbers"), ("refused", "letters")):
        said = f'"application":"{scope}","latency_ms":60000,"reply_to":"{topic}","reply_partition":{partition},"correlation_id":"{tag}"'
        cell.outbox.send(cell.settings.names.of(QUERIES), value=b'{"parameters":{' + said.encode() + b'},"inputs":[]}')
    assert reason(cell.answer("refused")) == "unknown_application"
    cell.until(lambda: tags(cell) == ["served"], "the work")
    assert parse_travel(cell.work.records[0].header_map).reply == ReplyAddress(topic, partition)


def test_a_delivery_that_fails_is_tried_again_until_it_arrives(cell):
    """The assignment names a partition that the topic has not got yet: its growth and the assignment were seen out of order."""
    facts = placeable(cell)
    facts.write(Instance(worker="w", boot_id="b1", variant=VARIANT, instance=0, state="active", taken=(5,)))
    cell.assign([None, None, None, None, None, Owner(worker="w", boot_id="b1", instance=0)])
    cell.until(
        lambda: VARIANT in cell.table.view().assignments and cell.table.view().instances, "an owner of partition 5"
    )
    one = router(cell)
    cell.send("a", application="numbers", latency_ms=60_000)
    cell.send("late", application="numbers", latency_ms=1_500)
    cell.until(
        lambda: one._deliveries._undelivered and one._deliveries._undelivered[0].incoming.attempts > 3, "attempts"
    )
    assert (outcome(cell.answer("late")), reason(cell.answer("late"))) == ("expired", "expired")
    cell.admin.grow(VARIANT, 6)
    grown = reader(cell, cell.settings.names.work(VARIANT))
    cell.until(lambda: len(grown.records) == 1, "the delivery")
    assert (grown.records[0].partition, grown.records[0].header_map["correlation-id"]) == (5, b"a")


class TinyQueue(BusSettings):
    """A local queue of a few records."""

    def producer(self, client_id):
        return {**super().producer(client_id), "queue.buffering.max.messages": 8}


def set_largest_record(settings, topic, count):
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    entry = ConfigEntry("max.message.bytes", str(count), incremental_operation=AlterConfigOpType.SET)
    (done,) = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
    ).values()
    done.result(10)


def test_a_full_queue_of_deliveries_that_fail_stops_nothing(cell):
    """What is done about a failed delivery sends, for which a callback would have to wait in the queue that it holds up."""
    placeable(cell)
    router(cell, settings=TinyQueue(**cell.settings.model_dump()))
    set_largest_record(cell.settings, cell.settings.names.work(VARIANT), 4_000)
    for n in range(60):
        cell.send(f"big{n}", application="numbers", latency_ms=60_000, body=b"x" * 8_000)
        cell.send(f"no{n}", application="letters")
        cell.send(f"small{n}", application="numbers", latency_ms=60_000, body=BODY)
    everything = {f"{kind}{n}" for kind in ("big", "no", "small") for n in range(60)}
    cell.until(lambda: {*cell.answers, *tags(cell)} == everything, "an end for each")
    assert {reason(cell.answer(f"big{n}")) for n in range(60)} == {"too_large"}
    # A small one that was in one batch with a large one is refused with it; none is both refused and at work.
    assert not set(tags(cell)) & set(cell.answers)


def test_two_routers_share_the_queries_and_no_rebalance_or_kill_loses_one(cell, environment):
    placeable(cell)
    first = router(cell)
    sent: list[str] = []

    def send(count):
        for _ in range(count):
            sent.append(f"q{len(sent)}")
            cell.send(sent[-1], application="numbers", latency_ms=60_000)

    def flowing(true):
        def look():
            send(5)
            return true()

        return look

    cell.until(flowing(lambda: len(first._intake.partitions) == 12), "all partitions")
    second = router(cell)
    cell.until(flowing(lambda: len(second._intake.partitions) == 6), "half of the partitions")
    cell.others.remove(second)
    second.close()
    cell.until(flowing(lambda: len(first._intake.partitions) == 12), "all partitions again")
    cell.until(lambda: set(tags(cell)) == set(sent), "all of them at work")
    assert len(tags(cell)) == len(sent), "who leaves in good order doubles nothing"
    killed = start([sys.executable, "-m", "infaas.router"])
    try:
        cell.until(flowing(lambda: len(first._intake.partitions) == 6), "a router in another process")
        send(200)
        cell.until(lambda: len(tags(cell)) > len(sent) - 150, "some of them at work")
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    cell.until(flowing(lambda: len(first._intake.partitions) == 12), "the partitions of the dead one")
    cell.until(lambda: set(tags(cell)) == set(sent), "all of them at work")


def test_a_refusal_is_tried_for_as_long_as_its_query_is_wanted_and_no_longer(cell, monkeypatch):
    """One that can't be delivered now is sent again until then; for want of a deadline, for five minutes."""
    placeable(cell)
    one = router(cell)
    until_ms, send = {}, one._answers._sender.send

    def watched(reply, on_done=None):
        until_ms[dict(reply.headers)["correlation-id"].decode()] = reply.until_ms
        send(reply, on_done)

    monkeypatch.setattr(one._answers._sender, "send", watched)
    later = time.time() * 1000 + 600_000
    cell.send("rejected", application="letters", deadline=later)
    cell.send("lenient", application="letters", deadline=later, strict="false", late_limit_ms=86_400_000)
    cell.send("expired", application="numbers", deadline=later - 1_200_000)
    cell.send("offline", application="letters")
    cell.send("unreadable", application="letters", latency_ms="soon")
    give_back(cell, "returned", attempt=3, deadline_ms=later, drop_after_ms=later)
    for tag in ("rejected", "lenient", "expired", "offline", "unreadable", "returned"):
        cell.answer(tag)
    assert until_ms["lenient"] > later
    assert until_ms == {
        "rejected": later, "lenient": until_ms["lenient"], "expired": later - 1_200_000, "offline": math.inf,
        "unreadable": math.inf, "returned": later,
    }  # fmt: skip


def test_of_very_many_refusals_some_leave_a_record_each_and_the_rest_one_that_says_how_many(cell):
    placeable(cell)
    decided, _ = reader(cell, cell.settings.names.of(DECISIONS)), router(cell, sample=0.0)
    for n in range(refused := 4 * MOST_A_SECOND):
        cell.send(f"q{n}", application="numbers", min_accuracy=0.99)
    cell.send("asked", application="numbers", min_accuracy=0.99, explain="true")
    for n in range(refused):
        cell.answer(f"q{n}")
    asked = cell.answer("asked").header_map["infaas-query-id"].decode()

    def told(kind):
        return [one for record in decided.records if (one := decisions.decode(record.value)).decision == kind]

    def left_out():
        return sum(sum(one.inputs["by_code"].values()) for one in told(decisions.UNRECORDED))

    cell.until(lambda: left_out() + len(told("Reject")) >= refused + 1, "all of them")
    assert left_out() > 0, "so many do not come over several seconds"
    assert asked in {one.about for one in told("Reject")}, "who asks for a record has one"
