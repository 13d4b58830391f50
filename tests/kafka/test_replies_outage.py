"""A broker that is away: what is not confirmed is tried again, and is not done until it is."""

import time

import pytest
from cell import outcome
from processes import stopped
from solo import Solo

from infaas.bus.admin import Admin
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.replies import Reply, ReplySender
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.span import SpanReader
from infaas.host.messages import Take, Taken
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.topics import DEAD_LETTERS, TELEMETRY

AWAY_S = 3.0
"""Longer than a delivery may take where it is hasty."""


@pytest.fixture
def cell(hurt):
    return hurt


def dead_letters(settings):
    admin = Admin(settings, client_id="t")
    topic = settings.names.of(DEAD_LETTERS)
    _, end = admin.watermarks({topic: 1})[topic, 0]
    admin.close()
    reader = SpanReader(settings, client_id="t")
    records = reader.read(topic, 0, 0, end)
    reader.close()
    return records


def poll_until(outbox, true, timeout):
    deadline = time.monotonic() + timeout
    while not true() and time.monotonic() < deadline:
        outbox.poll(0.05)
    return true()


def test_a_broker_away_longer_than_the_delivery_timeout_loses_no_reply(broker, cell, hasty):
    outbox, reader = Outbox(hasty, client_id="t"), ReplyReader(cell, client_id="caller")
    dead = DeadLetters(outbox, cell, service="t")
    sender = ReplySender(outbox, cell, dead_letters=dead)
    addresses = [ReplyAddress(None, reader.partition)] * 20
    done = set()
    sender.send(Reply("first", addresses[0], b"{}", []), lambda: done.add("first"))
    assert poll_until(outbox, lambda: done, 20)
    broker.kill()
    due = outbox.clock.now_ms() + 1000
    for n, address in enumerate(addresses):
        headers = [("infaas-objective-met", b"true")]
        reply = Reply(str(n), address, b"{}", headers, true_until_ms=due)
        sender.send(reply, lambda n=n: done.add(n))
    dead.put_raw(
        key=b"k", value=b"v", headers=[], where=("t", 0, 0), stage="t", cause="c", on_done=lambda: done.add("d")
    )
    assert not poll_until(outbox, lambda: len(done) > 1, AWAY_S), "nothing is done that nobody confirmed"
    assert outbox.pending >= 20, "an intake that looks at it stops taking"
    broker.restart()
    assert poll_until(outbox, lambda: len(done) == 22, 60), done
    seen = {}
    deadline = time.monotonic() + 20
    while len(seen) < 21 and time.monotonic() < deadline:
        seen.update((r.key.decode(), r) for r in reader.poll(0.1))
    assert set(seen) == {"first", *map(str, range(20))}
    assert {seen[str(n)].header_map["infaas-objective-met"] for n in range(20)} == {b"false"}, "late, so marked"
    assert [r.key for r in dead_letters(cell)] == [b"k"]
    assert sender.fallbacks == 0
    reader.close()
    outbox.close()


def test_a_reply_kept_back_by_a_short_outage_does_not_say_that_it_met_its_objective(broker, cell):
    outbox, reader = Outbox(cell, client_id="t"), ReplyReader(cell, client_id="caller")
    sender = ReplySender(outbox, cell, dead_letters=DeadLetters(outbox, cell, service="t"))
    address, done = ReplyAddress(None, reader.partition), set()
    sender.send(Reply("first", address, b"{}", []), lambda: done.add("first"))
    assert poll_until(outbox, lambda: done, 20)
    broker.kill()
    now = outbox.clock.now_ms()
    for name, due in (("tight", now + 300), ("loose", now + 60_000)):
        reply = Reply(name, address, b"{}", [("infaas-objective-met", b"true")], true_until_ms=due)
        sender.send(reply, lambda name=name: done.add(name))
    assert not poll_until(outbox, lambda: len(done) > 1, 1.5), "shorter than the delivery timeout"
    assert outbox.delivery_ms > 1_000, "what is sent now waits as well"
    broker.restart()
    assert poll_until(outbox, lambda: len(done) == 3, 60), done
    seen = {}
    deadline = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < deadline:
        seen.update((r.key.decode(), r.header_map.get("infaas-objective-met")) for r in reader.poll(0.1))
    assert seen == {"first": None, "tight": b"false", "loose": b"true"}
    reader.close()
    outbox.close()


def test_a_reply_that_nobody_wants_any_more_ends_in_the_dead_letters(broker, cell, hasty):
    outbox = Outbox(hasty, client_id="t")
    sender = ReplySender(outbox, cell, dead_letters=DeadLetters(outbox, cell, service="t"), grace_ms=1000.0)
    done = []
    broker.kill()
    until_ms = outbox.clock.now_ms() + 1000.0
    sender.send(Reply("q", ReplyAddress(), b"{}", [], until_ms=until_ms), lambda: done.append(1))
    assert not poll_until(outbox, lambda: done, AWAY_S)
    broker.restart()
    assert poll_until(outbox, lambda: done, 60)
    assert [r.key for r in dead_letters(cell)] == [b"q"]
    outbox.close()


def met(now_ms, due_ms, name, address):
    return Reply(name, address, b"{}", [("infaas-objective-met", b"true")], true_until_ms=now_ms + due_ms)


def test_what_waits_behind_a_broker_that_stands_still_is_taken_back_once_it_is_late(broker, cell):
    outbox, reader = Outbox(cell, client_id="t"), ReplyReader(cell, client_id="caller")
    sender = ReplySender(outbox, cell, dead_letters=DeadLetters(outbox, cell, service="t"))
    address, done = ReplyAddress(None, reader.partition), []
    sender.send(Reply("first", address, b"{}", []), lambda: done.append("first"))
    assert poll_until(outbox, lambda: done, 20)
    with stopped(broker):
        now_ms = outbox.clock.now_ms()
        sender.send(met(now_ms, 60_000, "in flight", address), lambda: done.append("in flight"))
        assert not poll_until(outbox, lambda: len(done) > 1, 0.3), "it is in the broker's hands, or nearly"
        for name, due_ms in (("tight", 400), ("loose", 60_000)):
            sender.send(met(now_ms, due_ms, name, address), lambda name=name: done.append(name))
        assert poll_until(outbox, lambda: outbox.delivery_ms > 2_000, 10), "what is sent now waits as well"
        assert outbox.pending >= 3, "what is taken back is not forgotten"
        assert done == ["first"]
    assert poll_until(outbox, lambda: len(done) == 4, 60), done
    seen = []
    deadline = time.monotonic() + 20
    while len(seen) < 4 and time.monotonic() < deadline:
        seen += [(r.key.decode(), r.header_map.get("infaas-objective-met")) for r in reader.poll(0.1)]
    assert sorted(seen) == [("first", None), ("in flight", b"true"), ("loose", b"true"), ("tight", b"false")]
    assert sorted(done) == ["first", "in flight", "loose", "tight"], "each is done once"
    reader.close()
    outbox.close()


def test_how_long_a_delivery_takes_is_learned_from_a_stall_and_forgotten_with_what_goes_well(broker, cell):
    outbox, topic = Outbox(cell, client_id="t"), cell.names.of(TELEMETRY)
    outbox.send_and_wait(topic, value=b"v")
    assert outbox.delivery_ms < 2_000
    with stopped(broker):
        time.sleep(0.1)
        idle_ms = outbox.delivery_ms
        time.sleep(0.1)
        assert outbox.delivery_ms == idle_ms, "nobody is silent who was not asked"
        outbox.send(topic, value=b"v")
        assert poll_until(outbox, lambda: outbox.delivery_ms > 2_500, 10)
    assert poll_until(outbox, lambda: not outbox.unconfirmed, 30)
    assert outbox.delivery_ms > 2_500, "the next one may meet the same"
    for _ in range(500):
        outbox.send_and_wait(topic, value=b"v")
        if outbox.delivery_ms < 500:
            break
    assert outbox.delivery_ms < 500
    outbox.close()


def test_an_instance_does_not_promise_what_a_broker_that_stands_still_can_not_keep(broker, cell, tmp_path, monkeypatch):
    """More is taken than fits in a batch: the second batch runs when nothing was confirmed for long."""
    monkeypatch.setenv("INFAAS_REPOSITORY_URL", (tmp_path / "repository").as_uri())
    one = Solo(cell)
    one.tell(Take(partition=0))
    one.send("warm")
    one.until(lambda: one.heard(Taken) and one.answers, "the first answer")
    due_ms = one.outbox.clock.now_ms() + 6_000
    for n in range(17):  # one more than a batch holds
        one.send(f"q{n}", deadline_ms=due_ms, drop_after_ms=due_ms + 60_000)
    assert one.outbox.flush(20) == 0
    time.sleep(0.5)  # the instance's client fetches meanwhile
    with stopped(broker):
        one.instance.step()
        sent = one.instance._answers.unconfirmed
        assert sent == 16
        assert poll_until(one.instance._outbox, lambda: one.instance._outbox.delivery_ms > 3_500, 10)
        one.until(lambda: one.instance._answers.unconfirmed == 17, "the last of them")
    one.until(lambda: len(one.answers) == 18, "all answers", 60)
    said = {tag: records[0].header_map["infaas-objective-met"] for tag, records in one.answers.items()}
    assert {outcome(records[0]) for records in one.answers.values()} == {"ok"}
    assert sorted(said.values()) == [b"false"] + [b"true"] * 17
    one.close()
