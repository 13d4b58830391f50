"""Closing ends in time, whatever the broker does: a service that hangs in it holds up a whole stack's stop."""

import threading
import time

import pytest
from processes import stopped

from infaas.bus import intake, workqueue
from infaas.bus.admin import Admin
from infaas.bus.intake import Intake
from infaas.bus.outbox import Outbox
from infaas.bus.workqueue import WorkQueue
from infaas.schemas.topics import QUERIES

PATIENCE_S = 60.0
SPARE_S = 1.0


def member(settings, **more):
    """One that has taken 40 new queries, done them all, and committed none of them."""
    topic = settings.names.of(QUERIES)
    outbox = Outbox(settings, client_id="t")
    for number in range(40):
        outbox.send(topic, value=b"%d" % number)
    assert outbox.flush(10) == 0
    outbox.close()
    patient = settings.model_copy(update={"session_timeout_ms": 30_000})
    made = Intake(patient, topics=[topic], group=settings.names.group("router"), client_id="m", **more)
    records, deadline = [], time.monotonic() + PATIENCE_S
    while len(records) < 40:
        assert time.monotonic() < deadline
        records += made.take(1000, 0.05)
    assert len(records) == 40
    for record in records:
        made.done(record)
    return made


def close_s(made):
    """How long it takes to close."""
    begun_s = time.monotonic()
    made.close()
    return time.monotonic() - begun_s


@pytest.mark.parametrize("paused", [False, True], ids=["nothing under way", "paused, and a commit under way"])
def test_a_broker_that_does_not_answer_does_not_hold_up_a_close(broker, hurt, paused, monkeypatch):
    monkeypatch.setattr(intake, "CLOSE_S", 2.0)
    made = member(hurt)
    if paused:
        made.pause()
    with stopped(broker):
        if paused:
            made.commit()
            made.take(1, 0.0)
        assert close_s(made) < 2.0 + SPARE_S


def test_a_broker_that_is_gone_does_not_hold_up_a_close(broker, hurt, monkeypatch):
    monkeypatch.setattr(intake, "CLOSE_S", 2.0)
    made = member(hurt)
    broker.kill()
    took_s = close_s(made)
    broker.restart()
    assert took_s < 2.0 + SPARE_S


def test_a_commit_under_way_does_not_hold_up_an_instances_close(broker, hurt):
    admin, variant = Admin(hurt, client_id="t"), "a.v1.onnxruntime-cpu1-fp32"
    admin.ensure_variant_topics(variant)
    admin.close()
    made, place = WorkQueue(hurt, client_id="w"), (hurt.names.work(variant), 0)
    made.assign(*place, 0)
    made.commit({place: (0, "")}, wait=True)
    with stopped(broker):
        made.commit({place: (0, "again")}, wait=False)
        assert close_s(made) < workqueue.CLOSE_S + SPARE_S


def test_a_client_that_never_returns_does_not_hold_up_a_close(settings, monkeypatch):
    monkeypatch.setattr(intake, "CLOSE_S", 0.5)
    made, free = member(settings), threading.Event()

    class Stuck:
        def __getattr__(self, name):
            return getattr(consumer, name)

        def close(self):
            free.wait(PATIENCE_S)
            consumer.close()

    consumer = made._consumer
    made._consumer = Stuck()
    assert close_s(made) < 0.5 + SPARE_S
    free.set()


def test_closing_commits_what_is_done_drains_no_more_and_may_be_said_twice(settings):
    made = member(settings, drain=lambda _: pytest.fail("who closes has drained"))
    made.close()
    made.close()
    member(settings).close()  # which takes what is new, and nothing again
