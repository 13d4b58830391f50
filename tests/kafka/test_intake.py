"""Consumer groups and the work queue: what is not done is not committed, and comes again."""

import time

import pytest

from infaas.bus.admin import Admin
from infaas.bus.intake import Intake
from infaas.bus.outbox import Outbox
from infaas.bus.workqueue import Commit, WorkQueue
from infaas.schemas.errors import OffsetLost
from infaas.schemas.topics import QUERIES

VARIANT = "a.v1.onnxruntime-cpu1-fp32"


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
    made = []

    def make(**more):
        topic = settings.names.of(QUERIES)
        made.append(
            Intake(settings, topics=[topic], group=settings.names.group("router"), client_id=f"m{len(made)}", **more)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def produce(settings, outbox, count, start=0):
    for i in range(start, start + count):
        outbox.send(settings.names.of(QUERIES), value=str(i).encode())
    assert outbox.flush(10) == 0


def take(source, count, timeout=20.0):
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
    again = {(r.partition, r.offset) for r in take(member(), len(kept))}
    assert kept <= again


def test_a_revoke_drains_and_commits_before_it_gives_up(settings, outbox, member):
    produce(settings, outbox, 80)
    held = []
    first = member(drain=lambda deadline: [first.done(r) for r in held])
    held += take(first, 80)
    second = member()
    deadline = time.monotonic() + 20
    while not (second.partitions and len(first.partitions) + len(second.partitions) == QUERIES.partitions):
        assert time.monotonic() < deadline
        first.take(10, 0.05)
        assert second.take(10, 0.05) == [], "a drained partition's records came twice"
    assert first.revocations == 1


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
    with pytest.raises(OffsetLost):
        take(queue, 1)
    queue.close()


def test_topics_grow_and_a_warm_producer_can_send_there(settings, outbox, admin):
    admin.ensure_variant_topics(VARIANT)
    topic = settings.names.work(VARIANT)
    outbox.send_and_wait(topic, value=b"x", partition=0)
    admin.grow(VARIANT, 6)
    assert outbox.learn(topic) == 6
    assert outbox.send_and_wait(topic, value=b"y", partition=5).partition == 5
    assert admin.check_topics() == []
