"""The outbox: waits for room, calls back one at a time, and puts off what has to go again."""

import random
import sys
import threading
import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infaas.bus.outbox import Outbox
from infaas.bus.span import SpanReader
from infaas.schemas.errors import KafkaRefused, QueueFull, UnknownTopic
from infaas.schemas.topics import TELEMETRY

ROOM = 10


@pytest.fixture
def topic(settings):
    return settings.names.of(TELEMETRY)


@pytest.fixture
def outbox(settings):
    """One whose local queue holds ten records."""
    tight = settings.model_copy(update={"kafka": {"queue.buffering.max.messages": str(ROOM)}})
    made = Outbox(tight, client_id="t")
    yield made
    made.close()


def values(settings, topic, count):
    reader = SpanReader(settings, client_id="t")
    found = [record.value for record in reader.read(topic, 0, 0, count)]
    reader.close()
    return found


def poll_until(outbox, true, timeout=30.0):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        outbox.poll(0.02)


def test_the_local_queue_is_as_small_as_the_setting_says(outbox, topic):
    for _ in range(ROOM):
        outbox.send(topic, value=b"v", partition=0, wait=False)
    with pytest.raises(QueueFull):
        outbox.send(topic, value=b"v", partition=0, wait=False)


def test_a_callback_that_sends_while_the_queue_is_full_neither_deadlocks_nor_loses(settings, outbox, topic):
    confirmed, inside = [], []

    def send(n, follow):
        def done(delivery):
            assert delivery.error is None
            assert not inside, "callbacks never nest"
            inside.append(n)
            confirmed.append(n)
            for k in range(follow):  # more than there is room for
                send(f"{n}.{k}", 0)
            inside.clear()

        outbox.send(topic, value=str(n).encode(), partition=0, on_done=done)

    for n in range(20):
        send(n, 3 * ROOM)
    assert outbox.flush(60) == 0
    expected = {str(n) for n in range(20)} | {f"{n}.{k}" for n in range(20) for k in range(3 * ROOM)}
    assert len(confirmed) == len(expected)
    assert {str(n) for n in confirmed} == expected
    assert {v.decode() for v in values(settings, topic, len(expected))} == expected


def test_flush_waits_for_what_callbacks_send_and_put_off(outbox, topic):
    order = []

    def resend(_):
        order.append("first")
        outbox.later(
            0.05, lambda: outbox.send(topic, value=b"2", partition=0, on_done=lambda _: order.append("second"))
        )

    outbox.send(topic, value=b"1", partition=0, on_done=resend)
    assert outbox.flush(20) == 0
    assert order == ["first", "second"]


def test_what_is_put_off_is_pending_and_comes_once_when_it_is_due(outbox):
    called = []
    began = time.monotonic()
    outbox.later(0.2, lambda: called.append(time.monotonic() - began))
    outbox.later(0.1, lambda: called.append(time.monotonic() - began))
    assert outbox.pending == 2
    poll_until(outbox, lambda: not outbox.pending)
    outbox.poll(0)
    first, second = called
    assert 0.1 <= first < second
    assert second >= 0.2


def test_what_is_put_off_again_and_again_ends_a_poll_all_the_same(outbox):
    called, more = [], True

    def again():
        called.append(1)
        if more:
            outbox.later(0.0, again)

    outbox.later(0.0, again)
    outbox.poll(0)
    assert 1 <= len(called) < 1000
    more = False  # or closing would wait for all of its time


def test_a_partition_that_is_not_there_is_told_as_such(outbox, topic):
    outbox.learn(topic)
    with pytest.raises(UnknownTopic):
        outbox.send_and_wait(topic, value=b"v", partition=7)


def test_many_chains_of_records_each_confirmed_once_and_in_order(settings, outbox, topic):
    chance = random.Random(7)
    chains, confirmed = 30, {}

    def go_on(chain, step):
        def done(delivery):
            assert delivery.error is None
            confirmed.setdefault(chain, []).append(step)
            if step < 20:
                if chance.random() < 0.3:
                    outbox.later(chance.random() * 0.01, lambda: go_on(chain, step + 1))
                else:
                    go_on(chain, step + 1)

        outbox.send(topic, value=f"{chain}/{step}".encode(), partition=0, on_done=done)

    for chain in range(chains):
        go_on(chain, 0)
    assert outbox.flush(60) == 0
    assert confirmed == {chain: list(range(21)) for chain in range(chains)}
    assert len(set(values(settings, topic, 21 * chains))) == 21 * chains


class Held:
    """A producer that holds a sender until its record was reported, as a busy machine may."""

    def __init__(self, producer, reported):
        self._producer, self._reported = producer, reported

    def __getattr__(self, name):
        return getattr(self._producer, name)

    def __len__(self):
        return len(self._producer)

    def produce(self, *record, **more):
        self._producer.produce(*record, **more)
        assert self._reported.wait(20)


def test_a_record_that_is_reported_before_its_sender_goes_on_is_counted_all_the_same(settings, topic):
    """One thread counted down what another had not counted yet; then a broker was silent to whom nothing had been sent."""
    outbox, reported, counts = Outbox(settings, client_id="t"), threading.Event(), []
    outbox._producer = Held(outbox._producer, reported)

    def told(_):
        counts.append((outbox.unconfirmed, outbox.delivery_ms))
        time.sleep(0.05)
        counts.append((outbox.unconfirmed, outbox.delivery_ms))
        reported.set()

    sender = threading.Thread(target=lambda: outbox.send(topic, value=b"v", partition=0, on_done=told))
    sender.start()
    poll_until(outbox, reported.is_set)
    sender.join()
    assert [unconfirmed for unconfirmed, _ in counts] == [0, 0]
    assert counts[0] == counts[1], "nothing is to be confirmed, so nobody is silent"
    assert outbox.unconfirmed == 0
    outbox.close()


def test_what_is_unconfirmed_is_exact_while_many_threads_send(settings, topic):
    outbox, counts, confirmed, wrong = Outbox(settings, client_id="t"), [], [], []
    threads, each = 8, 1500

    def told(delivery):
        confirmed.append(delivery.error)
        counts.append(outbox.unconfirmed)

    def send():
        try:
            for _ in range(each):
                outbox.send(topic, value=b"v", partition=0, on_done=told)
            for _ in range(50):
                with pytest.raises(UnknownTopic):
                    outbox.send(topic, value=b"v", partition=7)
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            wrong.append(error)

    outbox.learn(topic)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        senders = [threading.Thread(target=send) for _ in range(threads)]
        for sender in senders:
            sender.start()
        poll_until(outbox, lambda: len(confirmed) == threads * each or wrong)
        for sender in senders:
            sender.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
    assert set(confirmed) == {None}
    assert min(counts) >= 0
    assert outbox.unconfirmed == 0
    outbox.poll(0)
    first = outbox.delivery_ms
    time.sleep(0.2)  # nothing is to be confirmed, so nothing is late, however long it takes
    assert outbox.delivery_ms == first
    outbox.close()


def test_how_long_a_delivery_takes_is_until_it_stands_there_and_not_until_somebody_looks(settings, topic):
    """An instance looks after its next batch: what that takes was added to what its answers were expected to take."""
    outbox = Outbox(settings, client_id="t")
    for _ in range(20):
        outbox.send_and_wait(topic, value=b"v", partition=0)
    outbox.send(topic, value=b"v", partition=0)
    time.sleep(1.0)
    poll_until(outbox, lambda: not outbox.unconfirmed)
    assert outbox.delivery_ms < 500
    outbox.close()


def test_what_is_sent_together_goes_out_at_the_end_and_in_its_order(settings, outbox, topic):
    told = []
    with outbox.together():
        for n in range(3 * ROOM):  # more than there is room for
            outbox.send(topic, value=b"%d" % n, partition=0, on_done=told.append)
        assert outbox.pending == 0, "the client has none of them yet"
        assert outbox.unconfirmed == 3 * ROOM
    assert outbox.flush(30) == 0
    assert [delivery.error for delivery in told] == [None] * 3 * ROOM
    assert values(settings, topic, 3 * ROOM) == [b"%d" % n for n in range(3 * ROOM)]


def test_of_what_is_sent_together_one_that_cannot_be_sent_is_told_and_holds_up_no_other(settings, outbox, topic):
    told = {}
    with outbox.together():
        for n, partition in enumerate((0, 4711, 0)):
            outbox.send(topic, value=b"%d" % n, partition=partition, on_done=lambda d, n=n: told.update({n: d.error}))
    assert outbox.flush(30) == 0
    assert (told[0], told[2]) == (None, None)
    assert isinstance(told[1], UnknownTopic)
    assert values(settings, topic, 2) == [b"0", b"2"]
    assert outbox.unconfirmed == 0


def test_a_record_that_the_client_does_not_take_is_that_records_failure(settings, outbox, topic):
    """Else it is the end of whoever sends, and of all that was to go out after it."""
    told = {}
    with outbox.together():
        for n, value in enumerate((b"", 5, b"")):
            headers = [("h", value)]
            outbox.send(
                topic, value=b"%d" % n, partition=0, headers=headers, on_done=lambda d, n=n: told.update({n: d.error})
            )
    assert outbox.flush(30) == 0
    assert (told[0], told[2]) == (None, None)
    assert isinstance(told[1], KafkaRefused)
    assert values(settings, topic, 2) == [b"0", b"2"]
    with pytest.raises(KafkaRefused, match="TypeError"):
        outbox.send(topic, value=b"", headers=[("h", 5)])
    assert outbox.unconfirmed == 0


def test_what_was_sent_together_goes_out_also_if_the_rest_fails(settings, outbox, topic):
    def fails():
        with outbox.together():
            outbox.send(topic, value=b"first", partition=0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    outbox.send(topic, value=b"second", partition=0)
    assert outbox.flush(30) == 0
    assert values(settings, topic, 2) == [b"first", b"second"]


def test_small_records_that_go_together_are_not_taken_for_a_large_one(settings):
    small = settings.model_copy(update={"max_query_bytes": 64 * 1024})
    topic = f"{settings.topic_prefix}small"
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    new = NewTopic(topic, 1, 1, config={"max.message.bytes": str(small.max_query_bytes)})
    admin.create_topics([new])[topic].result(30)
    outbox, told = Outbox(small, client_id="t"), []
    try:
        outbox.learn(topic)
        with outbox.together():
            for _ in range(2_000):
                outbox.send(topic, value=b"v" * 100, partition=0, on_done=told.append)
        assert outbox.flush(30) == 0
    finally:
        outbox.close()
        admin.delete_topics([topic])[topic].result(30)
    assert [delivery.error for delivery in told] == [None] * 2_000


def test_what_went_alone_is_told_at_once_whatever_else_is_waited_for(settings, topic):
    """Its report came in while the other producer was waited for, which had nothing to say: a flush took all its time."""
    outbox, told = Outbox(settings, client_id="t"), []
    outbox.learn(topic)
    outbox.send(topic, value=b"v", partition=0, on_done=told.append, alone=True)
    until_s = time.monotonic() + 20
    while not told and time.monotonic() < until_s:
        time.sleep(0.5)  # confirmed, and nobody has looked
        began_s = time.monotonic()
        outbox.poll(5.0)
        assert time.monotonic() - began_s < 2.0
    assert [delivery.error for delivery in told] == [None]
    outbox.close()
