"""Consumer groups and the work queue: what is not done is not committed, and comes again."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from infaas.bus.admin import Admin
from infaas.bus.commits import Commit
from infaas.bus.intake import Intake
from infaas.bus.outbox import Outbox
from infaas.bus.workqueue import WorkQueue
from infaas.schemas.topics import QUERIES

VARIANT = "a.v1.onnxruntime-cpu1-fp32"
SESSION_MS = 30_000
"""No member is thrown out while a test looks at it: with the second that other tests have, a busy machine is enough."""
PATIENCE_S = 60.0


@pytest.fixture
def outbox(settings):
    one = Outbox(settings, client_id="t")
    yield one
    one.close()


@pytest.fixture
def admin(settings):
    one = Admin(settings, client_id="t")
    yield one
    one.close()


@pytest.fixture
def member(settings):
    patient, made = settings.model_copy(update={"session_timeout_ms": SESSION_MS}), []

    def make(**more):
        topic = settings.names.of(QUERIES)
        made.append(
            Intake(patient, topics=[topic], group=settings.names.group("router"), client_id=f"m{len(made)}", **more)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def produce(settings, outbox, count, start=0):
    for i in range(start, start + count):
        outbox.send(settings.names.of(QUERIES), value=str(i).encode())
    assert outbox.flush(10) == 0


def wait_for(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline


def take(source, count, timeout=PATIENCE_S):
    out, deadline = [], time.monotonic() + timeout
    while len(out) < count:
        assert time.monotonic() < deadline, f"{len(out)} of {count}"
        out += source.take(1000, 0.05)
    return out


def test_what_is_not_done_comes_again(settings, outbox, member):
    produce(settings, outbox, 100)
    first = member()
    records = take(first, 100)
    kept = {(r.partition, r.offset) for r in records[::7]}
    for record in records:
        if (record.partition, record.offset) not in kept:
            first.done(record)
    first.commit(force=True)
    first.close()
    second, again = member(), set()
    deadline = time.monotonic() + PATIENCE_S
    while not kept <= again:  # what was done behind one that was not comes again as well
        assert time.monotonic() < deadline, kept - again
        again |= {(r.partition, r.offset) for r in second.take(1000, 0.05)}


def test_what_moves_to_a_member_that_comes_has_nobody_for_much_less_than_a_second(member):
    """It moves in two rebalances, and a client that has joined waits a second before it joins again if nothing is done about it."""
    members = [member(), member()]

    def owners():
        for one in members:
            one.take(10, 0.005)
            one.commit()
        return [len(one.partitions) for one in members]

    wait_for(lambda: owners() == [QUERIES.partitions // 2] * 2)
    members.append(member())
    longest_s, seen_s = 0.0, time.monotonic()
    while min(shares := owners()) < QUERIES.partitions // 3 or sum(shares) < QUERIES.partitions:
        if sum(shares) == QUERIES.partitions:
            seen_s = time.monotonic()
        longest_s = max(longest_s, time.monotonic() - seen_s)
        assert longest_s < PATIENCE_S
    assert longest_s < 0.6


def test_queries_deleted_while_a_member_runs_are_an_event_and_done_when_it_is_told(settings, outbox, member, admin):
    topic = settings.names.of(QUERIES)
    one = member()
    produce(settings, outbox, 100)
    for record in take(one, 100):
        one.done(record)
    one.commit(force=True)
    one.pause()
    before = {p: high for (_, p), (_, high) in admin.watermarks({topic: QUERIES.partitions}).items()}
    produce(settings, outbox, 200, start=100)
    ends = {p: high for (_, p), (_, high) in admin.watermarks({topic: QUERIES.partitions}).items()}
    admin.delete_below({(topic, p): high for p, high in ends.items()})
    for p in range(QUERIES.partitions):
        outbox.send(topic, value=b"after", partition=p)
    assert outbox.flush(10) == 0
    one.resume()
    after = take(one, QUERIES.partitions)
    assert [record.value for record in after] == [b"after"] * QUERIES.partitions
    lost = {(p, before[p], ends[p] - 1) for p in ends if ends[p] > before[p]}
    assert {(gap.partition, gap.first, gap.last) for gap in one.gaps} == lost
    for record in after:
        one.done(record)
    one.commit(force=True)
    group = settings.names.group("router")
    committed = committed_by(settings, group, topic)
    assert {p: max(0, committed[p]) for p, _, _ in lost} == {p: first for p, first, _ in lost}, (
        "what was not told is not done"
    )
    for gap in one.gaps:
        one.settle(gap)
    one.commit(force=True)
    assert committed_by(settings, group, topic) == {p: high + 1 for p, high in ends.items()}


def test_a_log_that_ends_before_the_commit_is_an_event_and_its_offsets_count_again(settings, outbox, member):
    topic = settings.names.of(QUERIES)
    group = settings.names.group("router")
    asker = Consumer(settings.consumer("early", group, reset="error", wait_ms=50))
    asker.commit(offsets=[TopicPartition(topic, 0, 50)], asynchronous=False)
    asker.close()
    outbox.send(topic, value=b"first", partition=0)
    assert outbox.flush(10) == 0
    one = member()
    cell_wait = time.monotonic() + PATIENCE_S
    while not one.gaps:
        assert time.monotonic() < cell_wait
        one.take(10, 0.05)
    (gap,) = one.gaps
    assert (gap.partition, gap.first, gap.last, gap.cut) == (0, 1, 49, True)
    one.settle(gap)
    outbox.send(topic, value=b"second", partition=0)
    assert outbox.flush(10) == 0
    (record,) = take(one, 1)
    assert (record.offset, one.pending) == (1, 1)


def test_a_commit_that_is_refused_is_said_again(settings, outbox, member):
    """The member is thrown out of the group: its commit is refused, and what is done is committed once it is in again."""
    topic, group = settings.names.of(QUERIES), settings.names.group("router")
    produce(settings, outbox, 40)
    one = member()
    for record in take(one, 40):
        one.done(record)
    refused = [TopicPartition(topic, p, 0) for p in range(QUERIES.partitions)]
    for place in refused:
        place.offset = one._parts[topic, place.partition].position
        one._parts[topic, place.partition].committing(place.offset)
    assert one._parts[topic, 0].moved is None
    one._on_commit(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), refused)
    deadline = time.monotonic() + PATIENCE_S
    expected = {place.partition: place.offset for place in refused if place.offset > 0}
    while {p: o for p, o in committed_by(settings, group, topic).items() if o > 0} != expected:
        assert time.monotonic() < deadline
        one.commit()
        one.take(10, 0.02)


def committed_by(settings, group, topic):
    asker = Consumer(settings.consumer("asker", group, reset="error", wait_ms=50))
    places = [TopicPartition(topic, p) for p in range(QUERIES.partitions)]
    out = {place.partition: place.offset for place in asker.committed(places, timeout=10)}
    asker.close()
    return out


class Turning:
    """A consumer that loses all its partitions and gets them again between its `poll` and its `consume`."""

    def __init__(self, intake):
        self._intake, self._consumer, self.turns = intake, intake._consumer, 1

    def __getattr__(self, name):
        return getattr(self._consumer, name)

    def consume(self, count, timeout):
        if self.turns:
            self.turns -= 1
            mine = [TopicPartition(*place) for place in self._intake.partitions]
            self._intake._on_lost(self._consumer, mine)
            self._intake._on_assign(self._consumer, mine)
        return self._consumer.consume(count, timeout)


def test_what_was_in_hand_when_a_partition_came_back_does_not_hide_what_was_before_it(settings, outbox, member):
    one = member()
    produce(settings, outbox, 40)
    taken = take(one, 40)  # none of it done
    first = {place: min(r.offset for r in taken if r.partition == place[1]) for place in one.partitions}
    produce(settings, outbox, 40, start=40)
    one._consumer = Turning(one)
    again = take(one, 80)
    assert one._consumer.turns == 0
    assert sorted(int(record.value) for record in again) == list(range(80))
    for place in one.partitions:
        offsets = [record.offset for record in again if record.partition == place[1]]
        assert offsets == list(range(first[place], first[place] + len(offsets)))


def test_a_revoke_drains_and_commits_before_it_gives_up(settings, outbox, member):
    produce(settings, outbox, 80)
    held, drained = [], []

    def drain(deadline):
        drained.append(len(first.partitions))
        for record in held:
            first.done(record)

    first = member(drain=drain)
    held += take(first, 80)
    second = member()
    deadline = time.monotonic() + PATIENCE_S
    while not (second.partitions and len(first.partitions) + len(second.partitions) == QUERIES.partitions):
        assert time.monotonic() < deadline
        first.take(10, 0.05)
        assert second.take(10, 0.05) == [], "a drained partition's records came twice"
    assert drained == [QUERIES.partitions], "it drains once, while it still has all that it had"
    assert first.revocations > 0


def test_records_deleted_unread_are_an_event(settings, outbox, member, admin):
    produce(settings, outbox, 200)
    first = member()
    for record in take(first, 200):
        if record.offset < 2:
            first.done(record)
    first.commit(force=True)
    first.close()
    topic = settings.names.of(QUERIES)
    ends = {p: high for (_, p), (_, high) in admin.watermarks({topic: QUERIES.partitions}).items()}
    admin.delete_below({(topic, p): high for p, high in ends.items()})
    produce(settings, outbox, 1, start=1000)
    second = member()
    assert take(second, 1)[0].value == b"1000"
    assert {(gap.partition, gap.first, gap.last) for gap in second.gaps} == {
        (p, 2, high - 1) for p, high in ends.items() if high > 2
    }


def test_work_starts_where_it_was_told_and_the_mark_travels_with_the_commit(settings, outbox, admin):
    admin.ensure_variant_topics(VARIANT)
    topic = settings.names.work(VARIANT)
    outbox.learn(topic)
    for i in range(10):
        outbox.send(topic, value=str(i).encode(), partition=1)
    outbox.flush(10)
    queue = WorkQueue(settings, client_id="w")
    assert queue.committed(topic, [0, 1]) == {0: Commit(None), 1: Commit(None)}
    queue.assign(topic, 1, 4)
    assert [r.value for r in take(queue, 6)] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert queue.end(topic, 1) == 10
    queue.commit({(topic, 1): (7, "trying=7;1;w")}, wait=True)
    assert queue.committed(topic, [1])[1] == Commit(7, "trying=7;1;w")
    assert admin.committed({topic: 4})[topic, 1] == Commit(7, "trying=7;1;w")
    admin.commit_work({(topic, 1): 9})
    assert queue.committed(topic, [1])[1] == Commit(9)
    queue.unassign(topic, 1)
    admin.delete_below({(topic, 1): 9})
    queue.assign(topic, 1, 3)
    deadline = time.monotonic() + PATIENCE_S
    while not queue.lost() and time.monotonic() < deadline:
        assert queue.take(1, 0.05) == []
    assert queue.lost() == {(topic, 1)}
    queue.close()


def test_topics_grow_and_a_warm_producer_can_send_there(settings, outbox, admin):
    admin.ensure_variant_topics(VARIANT)
    topic = settings.names.work(VARIANT)
    outbox.send_and_wait(topic, value=b"x", partition=0)
    admin.grow(VARIANT, 6)
    assert outbox.learn(topic) == 6
    assert outbox.send_and_wait(topic, value=b"y", partition=5).partition == 5
    assert admin.check_topics() == []
