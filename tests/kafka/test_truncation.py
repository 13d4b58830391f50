"""Logs that lose their end while they are read, as after an unclean election: it is told, and nothing stops silently.

One node can't elect a leader that lacks records. So the broker is killed, the end of a partition's log is cut off at a batch, and the
broker is started again: it recovers what is there, under a new leader epoch, and gives out the lost offsets again.
"""

import struct
import time

import pytest
from cell import Cell, reason
from solo import Solo
from topic_reader import TopicReader

from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.host.messages import Take, Taken
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.schemas.errors import KafkaUnavailable, OffsetLost, ProducerFatal
from infaas.schemas.topics import DEAD_LETTERS, QUERIES, ROUTER_GROUP, WORK_GROUP

READ, KEPT, MORE = 40, 10, 5
PARTITION = 3
BATCH_HEADER = struct.Struct(">qi")
"""Base offset and length of what follows, of a record batch in a log file."""


@pytest.fixture
def settings(hurt):
    return hurt


class Restarting:
    """A router and what starts it again when it ends."""

    def __init__(self, settings):
        self.settings, self.ends = settings, []
        self.router = Router(settings=settings, own=RouterSettings())

    def step(self):
        try:
            self.router.step()
        except OffsetLost as error:
            self.ends.append(str(error))
            self.router.close()
            self.router = Router(settings=self.settings, own=RouterSettings())

    def close(self):
        self.router.close()


@pytest.fixture
def cell(settings):
    one = Cell(settings)
    one.publish("sha256:" + "0" * 64)
    one.admin = Admin(settings, client_id="test")
    one.letters = TopicReader(settings, settings.names.of(DEAD_LETTERS))
    one.router = Restarting(settings)
    one.others += [one.letters, one.router]
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()
    one.admin.close()


def cut(broker, topic, partition, offset):
    """Kills the broker, and starts it again without what a partition holds from this offset on."""
    broker.kill()
    (folder,) = broker.data_dir.rglob(f"{topic}-{partition}")
    (log,) = folder.glob("*.log")
    data, at = log.read_bytes(), 0
    while at + BATCH_HEADER.size <= len(data):
        base, length = BATCH_HEADER.unpack_from(data, at)
        if length <= 0 or base >= offset:
            break
        at += BATCH_HEADER.size + length
    log.write_bytes(data[:at])
    for index in folder.glob("*index"):
        index.unlink()
    broker.restart()


def end_of(admin, topic, partition):
    _, end = admin.watermarks({topic: partition + 1}).get((topic, partition), (0, -1))
    return end


def ask(cell, tags):
    """One query a batch, so that the log can be cut behind any; a caller of its own, since who sent what is lost can't go on."""
    topic = cell.settings.names.of(QUERIES)
    caller = Outbox(cell.settings, client_id="caller")
    for tag in tags:
        tagged = [("correlation-id", tag.encode()), ("infaas-application", b"numbers")]
        caller.send_and_wait(
            topic, value=b"", headers=[*tagged, *cell.replies.address_headers()], partition=PARTITION, timeout=30.0
        )
    caller.close()


def poll_on(outbox, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        outbox.poll(0.1)


def answered(cell, tags):
    for tag in tags:
        assert reason(cell.answer(tag)) == "no_room"


def committed(settings, topic, partition, group):
    """How far it is committed; -1 while nobody says. Asked by a client of its own, that knows of no broker before."""
    admin = Admin(settings, client_id="look")
    try:
        offset = admin.committed({topic: partition + 1}, group=settings.names.group(group))[topic, partition].offset
    except KafkaUnavailable:
        return -1
    finally:
        admin.close()
    return -1 if offset is None else offset


def routed(cell):
    return committed(cell.settings, cell.settings.names.of(QUERIES), PARTITION, ROUTER_GROUP)


def causes(cell):
    return [letter.header_map["__connect.errors.exception.message"].decode() for letter in cell.letters.records]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(MORE, id="the log is still shorter than the commit"),
        pytest.param(READ, id="the log has grown past the commit again"),
    ],
)
def test_queries_that_are_cut_off_while_a_router_runs_are_told_and_their_offsets_are_answered_again(cell, broker, more):
    topic = cell.settings.names.of(QUERIES)
    before = [f"before{n}" for n in range(READ)]
    ask(cell, before)
    answered(cell, before)
    cell.until(lambda: routed(cell) == READ, "all to be committed")
    cut(broker, topic, PARTITION, KEPT)
    after = [f"after{n}" for n in range(more)]
    ask(cell, after)  # before the router has a chance to look
    answered(cell, after)
    cell.until(lambda: causes(cell), "the dead letter")
    assert causes(cell) == [f"offsets {KEPT} to {READ - 1} were read, and then cut off"]
    cell.until(lambda: routed(cell) == KEPT + more, "the new ones to be committed")


def test_a_topic_that_is_made_again_with_fewer_records_while_a_router_runs_is_read_from_its_beginning(cell):
    topic = cell.settings.names.of(QUERIES)
    before = [f"before{n}" for n in range(READ)]
    ask(cell, before)
    answered(cell, before)
    cell.until(lambda: routed(cell) == READ, "all to be committed")
    cell.admin.delete_topics([topic])
    cell.until(lambda: topic not in cell.admin.topics(), "the topic to be gone")
    cell.admin.ensure_topics()
    cell.until(lambda: end_of(cell.admin, topic, PARTITION) == 0, "the topic to be there again")
    after = [f"after{n}" for n in range(MORE)]
    ask(cell, after)
    answered(cell, after)


def test_a_producer_whose_records_were_cut_off_ends_with_a_fatal_error_of_ours(settings, broker):
    """The client raises it out of `poll`, where a service takes whatever is raised for one query's."""
    topic = settings.names.of(QUERIES)
    one = Outbox(settings, client_id="one")
    for _ in range(READ):
        one.send_and_wait(topic, value=b"", partition=PARTITION)
    cut(broker, topic, PARTITION, KEPT)
    one.send(topic, value=b"", partition=PARTITION)
    with pytest.raises(ProducerFatal, match="sequence"):
        poll_on(one, 60.0)


def test_work_that_is_cut_off_while_an_instance_runs_is_told_and_its_offsets_are_answered_again(settings, broker):
    one = Solo(settings)
    admin = Admin(settings, client_id="test")
    letters = TopicReader(settings, settings.names.of(DEAD_LETTERS))
    one.tell(Take(partition=0))
    one.until(lambda: one.heard(Taken), "the partition")
    for n in range(READ):
        one.send(f"before{n}")
        one.until(lambda n=n: f"before{n}" in one.answers, "the answer")
    one.until(lambda: committed(settings, one.topic, 0, WORK_GROUP) == READ, "all to be committed")
    cut(broker, one.topic, 0, KEPT)
    one.until(lambda: end_of(admin, one.topic, 0) == KEPT, "a log that ends earlier")
    one.outbox = Outbox(settings, client_id="another-router")
    for n in range(MORE):
        one.send(f"after{n}")
    one.until(lambda: {f"after{n}" for n in range(MORE)} <= set(one.answers), "answers")
    one.until(lambda: letters.step() or letters.records, "the dead letter")
    (letter,) = [record.header_map for record in letters.records]
    assert (letter["__connect.errors.stage"], letter["__connect.errors.offset"]) == (b"truncated", str(READ).encode())
    one.until(lambda: committed(settings, one.topic, 0, WORK_GROUP) == KEPT + MORE, "the new ones to be committed")
    letters.close()
    admin.close()
    one.close()
