"""A reply has its query's key, and stands where a Java client would look for that key."""

import time

import numpy as np
import pytest
from cell import VARIANT, Cell, doubling_model, outcome, reason
from murmur2 import VECTORS, murmur2, partition_of
from topic_reader import TopicReader

from infaas.bus.admin import Admin
from infaas.bus.backlog import Waiting
from infaas.bus.outbox import Outbox
from infaas.bus.repository import Repository
from infaas.client import Client
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.scaler.returns import Returns
from infaas.schemas.headers import Travel, travel_headers
from infaas.schemas.metadata import Owner
from infaas.schemas.topics import QUERIES, REPLIES, RETURNS
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

BODY = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
KEYS = {
    "none": None,
    "empty": b"",
    "text": b"customer 7",
    "binary": bytes(range(256)),
    "no UTF-8": b"\xff\xfe",
    "long": b"k" * 300_000,
    "another query's id": b"infaas.queries-0-0",
}
OWN_PARTITIONS = 7
X = np.array([[1.0, 2.0]], np.float32)


def test_the_hash_is_javas():
    assert {key: murmur2(key) for key in VECTORS} == VECTORS


def test_a_record_stands_where_a_java_client_puts_its_key(settings):
    outbox, placed = Outbox(settings, client_id="t"), {}
    topic = settings.names.of(REPLIES)
    for n in range(500):
        key = b"" if n == 0 else n.to_bytes(2 + n % 9, "big")
        outbox.send(topic, value=b"v", key=key, on_done=lambda delivery, key=key: placed.update({key: delivery}))
    assert outbox.flush(20) == 0
    outbox.close()
    assert all(delivery.error is None for delivery in placed.values())
    assert {key: delivery.partition for key, delivery in placed.items()} == {
        key: partition_of(key, settings.reply_partitions) for key in placed
    }


@pytest.fixture
def cell(settings, environment):
    one = Cell(settings)
    one.admin = Admin(settings, client_id="test")
    one.admin.ensure_variant_topics(VARIANT)
    one.mine = f"mine-{settings.topic_prefix}"
    one.admin.make_topics({one.mine: OWN_PARTITIONS})
    one.publish(Repository().put(doubling_model()))
    one.seen = [TopicReader(settings, topic) for topic in (settings.names.of(REPLIES), one.mine)]
    one.others += one.seen
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()
    one.admin.delete_topics([one.mine])
    one.admin.close()


def router(cell):
    cell.others.append(Router(settings=cell.settings, own=RouterSettings()))


def serve(cell):
    one = Supervisor(settings=cell.settings, own=WorkerSettings(name="w1", cores=1))
    cell.others.append(one)
    cell.place("w1", 1)
    cell.until(lambda: facts(cell), "a fact")
    cell.assign([Owner(worker="w1", boot_id=one.boot_id, instance=0)] * 4)
    cell.until(lambda: all(fact.taken == (0, 1, 2, 3) for fact in facts(cell)), "its partitions")


def facts(cell):
    return list(cell.table.view().instances.values())


def reply(cell, tag):
    return next(
        (r for seen in cell.seen for r in seen.records if r.header_map.get("correlation-id") == tag.encode()), None
    )


def expect(cell, tag, key, partitions):
    """The reply of this tag: it has the key, or for want of one the query id, and stands in that key's partition."""
    cell.until(lambda: reply(cell, tag) is not None, f"the reply {tag}")
    record = reply(cell, tag)
    wanted = record.header_map["infaas-query-id"] if key is None else key
    assert record.key == wanted, tag
    assert record.partition == partition_of(wanted, partitions), tag
    return record


def ask(cell, tag, key, *headers):
    cell.outbox.send(
        cell.settings.names.of(QUERIES), key=key, value=BODY, headers=[("correlation-id", tag.encode()), *headers]
    )


GOOD, UNKNOWN = ("infaas-application", b"numbers"), ("infaas-application", b"nothing")


def test_a_reply_of_an_instance_or_a_router_has_the_key_of_its_query(cell):
    serve(cell)
    router(cell)
    mine = ("reply-to", cell.mine.encode())
    for name, key in KEYS.items():
        ask(cell, f"ok {name}", key, GOOD)
        ask(cell, f"ok mine {name}", key, GOOD, mine)
        ask(cell, f"failed {name}", key, GOOD, ("inference-header-content-length", b"5"))
        ask(cell, f"refused {name}", key, UNKNOWN)
        ask(cell, f"refused mine {name}", key, UNKNOWN, mine)
        ask(cell, f"unreadable {name}", key)
        ask(cell, f"elsewhere {name}", key, GOOD, ("reply-to", b"not-there-at-all"))
        ask(cell, f"chosen {name}", key, GOOD, mine, ("reply-partition", b"3"))
    for name, key in KEYS.items():
        assert outcome(expect(cell, f"ok {name}", key, cell.settings.reply_partitions)) == "ok"
        assert outcome(expect(cell, f"ok mine {name}", key, OWN_PARTITIONS)) == "ok"
        assert outcome(expect(cell, f"failed {name}", key, cell.settings.reply_partitions)) == "failed"
        assert outcome(expect(cell, f"refused {name}", key, cell.settings.reply_partitions)) == "rejected"
        assert outcome(expect(cell, f"refused mine {name}", key, OWN_PARTITIONS)) == "rejected"
        assert reason(expect(cell, f"unreadable {name}", key, cell.settings.reply_partitions)) == "bad_header"
        assert reason(expect(cell, f"elsewhere {name}", key, cell.settings.reply_partitions)) == "bad_reply_address"
        cell.until(lambda name=name: reply(cell, f"chosen {name}") is not None, "the reply to a chosen partition")
        record = reply(cell, f"chosen {name}")
        assert record.partition == 3
        assert record.key == (record.header_map["infaas-query-id"] if key is None else key)


def test_what_the_scaler_refuses_or_returns_keeps_its_key(cell):
    topic = cell.settings.names.work(VARIANT)
    now_ms = time.time() * 1000
    cell.outbox.learn(topic)
    for name, key in KEYS.items():
        for tag, until_ms in ((f"expired {name}", now_ms - 1), (f"returned {name}", now_ms + 600_000)):
            travel = Travel(query_id=f"q {tag}", appended_ms=now_ms, deadline_ms=until_ms, drop_after_ms=until_ms)
            headers = travel_headers(travel, [GOOD, ("correlation-id", tag.encode())])
            cell.outbox.send(topic, key=key, value=BODY, headers=headers, partition=0)
    cell.until(lambda: not cell.outbox.pending, "all sent")
    returns = Returns(cell.settings, admin=cell.admin, name="t")
    end = 2 * len(KEYS)
    returns.give_back(VARIANT, [Waiting(topic, 0, 0, end, 0)])
    returns.close()
    back = TopicReader(cell.settings, cell.settings.names.of(RETURNS))
    cell.others.append(back)
    cell.until(lambda: len(back.records) == len(KEYS), "what was returned")
    router(cell)
    for name, key in KEYS.items():
        assert outcome(expect(cell, f"expired {name}", key, cell.settings.reply_partitions)) == "expired"
        assert reason(expect(cell, f"returned {name}", key, cell.settings.reply_partitions)) == "no_variant"


def test_a_client_gives_a_key_and_gets_its_answer_in_its_own_partition_all_the_same(cell):
    serve(cell)
    router(cell)
    with Client(cell.settings) as client, Client(cell.settings, reply_topic=cell.mine) as own:
        for caller, count in ((client, cell.settings.reply_partitions), (own, OWN_PARTITIONS)):
            futures = [caller.submit("numbers", {"x": X}, key=key, id=name) for name, key in KEYS.items()]
            cell.until(lambda futures=futures: all(future.done() for future in futures), "all answers")
            assert [future.result().id for future in futures] == list(KEYS)
            place = caller._exchange._reader.partition
            assert 0 <= place < count
            cell.until(
                lambda place=place, topic=caller._exchange._reader.topic: (
                    sum(r.partition == place for seen in cell.seen for r in seen.records if r.topic == topic)
                    >= len(KEYS)
                ),
                "the records",
            )
    keys = [r.key for r in cell.seen[1].records]
    assert sorted(key for key in keys if key in KEYS.values()) == sorted(
        key for key in KEYS.values() if key is not None
    )
