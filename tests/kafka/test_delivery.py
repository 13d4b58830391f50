"""What a router sends, and what it does not arrive at."""

import pytest

from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.bus.span import SpanReader
from infaas.router.delivery import Deliveries
from infaas.router.incoming import Envelope, Incoming
from infaas.router.load import Load
from infaas.router.open_views import OpenViews
from infaas.router.policy import Dispatch
from infaas.router.running import RunningAt
from infaas.schemas.errors import UnknownTopic
from infaas.schemas.headers import Objective, ReplyAddress, Travel
from infaas.schemas.topics import QUERIES, WORK
from infaas.store.table import Table

VARIANT = "digits.v1.onnxruntime-cpu1-fp32"


@pytest.fixture
def outbox(settings):
    made = Outbox(settings, client_id="t")
    yield made
    made.close()


@pytest.fixture
def table(settings):
    made = Table(settings, client_id="t")
    made.open()
    yield made
    made.close()


def query(settings, outbox):
    topic = settings.names.of(QUERIES)
    sent = outbox.send_and_wait(topic, value=b"{}", partition=0)
    reader = SpanReader(settings, client_id="t")
    (record,) = reader.read(topic, 0, sent.offset, sent.offset + 1)
    reader.close()
    travel = Travel("q", sent.timestamp_ms)
    return Incoming(Envelope(record, ReplyAddress("replies")), Objective("application", "app", latency_ms=1e6), travel)


def test_of_a_topic_that_has_fewer_partitions_than_it_had_the_number_is_asked_for_again(settings, outbox, table):
    """It was deleted and made anew, smaller: what is known of it refuses each query until that is found out."""
    admin = Admin(settings, client_id="t")
    admin.ensure_variant_topics(VARIANT)
    topic, done = settings.names.work(VARIANT), []
    deliveries = Deliveries(
        outbox=outbox, names=settings.names, table=table, load=Load(), views=OpenViews(), done=done.append
    )
    deliveries._partitions[topic] = WORK.partitions + 4
    last = RunningAt("w", 0, "active", 0.0, 1.0, 1.0, (WORK.partitions + 1,))
    incoming = query(settings, outbox)
    outbox.learn(topic)
    for _ in range(2):
        with outbox.together():
            deliveries.send(incoming, Dispatch(VARIANT, last, 1.0, "it is"))
        assert outbox.flush(10) == 0
        if not done:
            ((failed,)) = deliveries.undelivered(float("inf"))
            assert isinstance(failed.error, UnknownTopic)
            admin.grow(VARIANT, WORK.partitions + 2)
    assert done == [incoming.record]
    admin.close()


def test_of_topics_whose_variant_has_gone_nothing_is_kept(settings, outbox, table):
    deliveries = Deliveries(
        outbox=outbox, names=settings.names, table=table, load=Load(), views=OpenViews(), done=lambda _: None
    )
    admin = Admin(settings, client_id="t")
    admin.ensure_variant_topics(VARIANT)
    admin.close()
    deliveries.send(query(settings, outbox), Dispatch(VARIANT, None, 1.0, "it is cold"))
    assert set(deliveries._partitions) == {settings.names.work(VARIANT)}
    assert VARIANT not in table.view().variants
    deliveries.forget(table.view())
    assert deliveries._partitions == {}
