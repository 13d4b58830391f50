"""Query → router → instance → reply on real Kafka, with a real engine, while things die."""

import contextlib
import os
import signal
import time
from pathlib import Path

import deadly_engine
import numpy as np
import psutil
import pytest
from cell import VARIANT, doubling_model, outcome, profile, reason
from serving import child, router, serve, serving_cell, state, supervisor, taken

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.bus.span import SpanReader
from infaas.policy.capacity import capacity
from infaas.schemas import oip
from infaas.schemas.metadata import Owner
from infaas.schemas.topics import DEAD_LETTERS


@pytest.fixture
def cell(settings, environment):
    with serving_cell(settings) as cell:
        yield cell


def test_a_query_is_answered_in_its_form_with_all_that_a_caller_wants_to_know(cell):
    serve(cell, supervisor(cell))
    router(cell)
    begun_s = time.monotonic()
    cell.send("a", application="numbers", latency_ms=30_000)
    record = cell.answer("a")
    elapsed_ms = (time.monotonic() - begun_s) * 1000.0
    found = {name: value.decode() for name, value in record.headers if not name.startswith("ce_")}
    assert found["infaas-outcome"] == "ok"
    assert found["infaas-served-variant"] == VARIANT
    assert found["infaas-worker"] == "w1"
    assert found["infaas-objective-met"] == "true"
    assert float(found["infaas-accuracy"]) == 0.9
    assert found["infaas-batch-size"] == "1"
    assert 0.0 < float(found["infaas-inference-ms"]) < elapsed_ms
    assert 0.0 <= float(found["infaas-queue-ms"]) < elapsed_ms
    cost = cell.table.view().variants[VARIANT].cost_per_hour / 3600.0 / capacity(profile(), 30_000)
    assert float(found["infaas-cost"]) == pytest.approx(cost, abs=1e-10)  # as many digits as are written
    response = oip.decode_response(record.value)
    assert response.id == "a"
    np.testing.assert_array_equal(response.outputs["y"], [[2.0, 4.0]])
    body, length = oip.encode_request(oip.InferRequest({"x": np.ones((3, 2), np.float32)}, binary=True))
    cell.send(
        "b", body=body, headers=[("inference-header-content-length", str(length).encode())], architecture="double"
    )
    record = cell.answer("b")
    back = oip.decode_response(record.value, int(record.header_map["inference-header-content-length"]))
    assert back.outputs["y"].shape == (3, 2)


HALF = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":4}}]}'
BAD = {
    "unknown application": (dict(application="nothing"), None, "rejected", "unknown_application"),
    "no scope at all": ({}, None, "rejected", "bad_header"),
    "malformed header": (dict(application="numbers", latency_ms="soon"), None, "rejected", "bad_header"),
    "impossible accuracy": (dict(application="numbers", min_accuracy=0.99), None, "rejected", "accuracy"),
    "impossible cost": (dict(application="numbers", max_cost=0), None, "rejected", "cost"),
    "impossible latency": (dict(application="numbers", latency_ms=0.001), None, "expired", "expired"),
    "no JSON": (dict(application="numbers"), b"hello", "failed", "bad_tensor"),
    "wrong shape": (dict(application="numbers"), b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}', "failed", "bad_tensor"),
    "wrong datatype": (dict(application="numbers"), b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}', "failed", "bad_tensor"),
    "values that do not match": (dict(application="numbers"), b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1]}]}', "failed", "bad_tensor"),
    "bytes that do not match": (dict(application="numbers", headers=[("inference-header-content-length", str(len(HALF)).encode())]), HALF + b"\0" * 4, "failed", "bad_tensor"),
    "refused by the engine": (dict(application="numbers"), b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[5000,2]}]}', "failed", "inference_failed"),
}  # fmt: skip


def test_bad_input_gets_an_answer_that_names_it_and_the_service_goes_on(cell):
    serve(cell, supervisor(cell))
    router(cell)
    for name, (asked, body, _, _) in BAD.items():
        cell.send(name, body=body, **asked)
    for name, (_, _, expected, code) in BAD.items():
        record = cell.answer(name)
        assert (outcome(record), reason(record)) == (expected, code), (name, record.value)
    cell.send("good", application="numbers")
    assert outcome(cell.answer("good")) == "ok"


MALFORMED = {
    "a list for a datatype": (b'{"inputs":[{"name":"x","shape":[1,2],"datatype":[],"data":[1,2]}]}', None, "bad_tensor"),
    "an axis nobody can count": (b'{"inputs":[{"name":"x","shape":[0,10000000000000000000],"datatype":"FP32","data":[]}]}', None, "bad_tensor"),
    "no decimal length": (None, [("inference-header-content-length", "\u00b2".encode())], "bad_header"),
    "objectives twice": (b'{"parameters":{"min-accuracy":0.9},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}', None, "bad_header"),
}  # fmt: skip


def test_malformed_bodies_fail_alone_and_the_instance_lives_on(cell):
    """Each of the first three took an instance down, then the next one, then the application."""
    one = supervisor(cell)
    serve(cell, one)
    router(cell)
    pid = child(cell, "w1").pid
    for name, (body, headers, _) in MALFORMED.items():
        cell.send(name, body=body, headers=headers, application="numbers", latency_ms=30_000)
        cell.send(f"beside {name}", application="numbers", latency_ms=30_000)
    for name, (_, _, code) in MALFORMED.items():
        record = cell.answer(name)
        assert (outcome(record), reason(record)) == ("failed", code), (name, record.value)
        assert outcome(cell.answer(f"beside {name}")) == "ok"
    assert child(cell, "w1").pid == pid
    admin = Admin(cell.settings, client_id="look")
    letters = cell.settings.names.of(DEAD_LETTERS)
    cell.until(
        lambda: sum(end for _, end in admin.watermarks({letters: 1}).values()) == len(MALFORMED), "the dead letters"
    )
    admin.close()


def test_a_forbidden_reply_address_is_answered_on_the_default_topic(cell):
    router(cell)
    cell.send("x", application="numbers", headers=[("reply-to", b"__consumer_offsets")])
    # The default topic is keyed: the answer is in the partition of the query's id, not in ours.
    everywhere, reader = Admin(cell.settings, client_id="look"), SpanReader(cell.settings, client_id="look")
    topic = cell.settings.names.prefix + "replies"
    found = []

    def answered():
        marks = everywhere.watermarks({topic: cell.settings.reply_partitions})
        found[:] = [r for (_, at), (low, end) in marks.items() for r in reader.read(topic, at, low, end)]
        return found

    cell.until(answered, "the answer")
    everywhere.close()
    reader.close()
    assert [(outcome(r), reason(r)) for r in found] == [("rejected", "bad_reply_address")]


def test_a_body_can_say_what_headers_could_not(cell):
    serve(cell, supervisor(cell))
    router(cell)
    body = b'{"parameters":{"application":"numbers","latency_ms":30000},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
    cell.send("p", body=body)
    assert outcome(cell.answer("p")) == "ok"


def test_a_cold_variant_is_wanted_and_answers_once_it_runs(cell):
    one = supervisor(cell)
    router(cell)
    cell.until(lambda: one.name in cell.table.view().live_workers, "the worker")
    cell.send("cold", application="numbers", latency_ms=60_000)
    cell.until(lambda: cell.others[1].dispatched == 1, "the dispatch")
    serve(cell, one)
    assert outcome(cell.answer("cold")) == "ok"


def test_a_query_nobody_can_hold_is_refused(cell):
    router(cell)
    cell.send("x", application="numbers", latency_ms=1000)
    record = cell.answer("x")
    assert (outcome(record), reason(record)) == ("rejected", "no_room")


def test_killed_and_frozen_instances_lose_nothing(cell):
    one = supervisor(cell)
    serve(cell, one)
    router(cell)
    for i in range(600):
        cell.send(f"q{i}", application="numbers", latency_ms=60_000)
        if i == 200:
            cell.until(lambda: len(cell.answers) > 20, "some answers")
            os.kill(child(cell, "w1").pid, signal.SIGKILL)
        if i == 400:
            cell.until(lambda: len(cell.answers) > 220, "answers after the kill")
            frozen = psutil.Process(child(cell, "w1").pid)
            frozen.suspend()
            cell.until(lambda p=frozen: p.status() == psutil.STATUS_STOPPED, "it stands still")
    cell.until(lambda: cell.others[1].dispatched >= 600, "all dispatched while it stands still")
    assert not {f"q{i}" for i in range(401, 600)} & set(cell.answers), "nobody answers what came after it was frozen"
    with contextlib.suppress(psutil.NoSuchProcess):  # unless its supervisor was quicker
        frozen.resume()
    cell.until(lambda: len(cell.answers) == 600, "all answers")
    assert {outcome(record) for records in cell.answers.values() for record in records} == {"ok"}
    assert sum(len(records) for records in cell.answers.values()) < 1200


@pytest.mark.parametrize("asked", [{"latency_ms": 60_000}, {}], ids=["online", "offline"])
def test_a_record_that_kills_is_condemned_and_its_neighbours_are_not(cell, monkeypatch, asked):
    """An engine whose process dies of one input: once in a batch, once alone, once more alone, then a dead letter."""
    monkeypatch.setenv("PYTHONPATH", str(Path(deadly_engine.__file__).parent), prepend=os.pathsep)
    cell.publish(Repository().put(doubling_model()), engine="deadly")
    cell.until(lambda: (v := cell.table.view().variants.get(VARIANT)) and v.recipe.engine == "deadly", "the variant")
    one = supervisor(cell)
    cell.until(lambda: one.name in cell.table.view().live_workers, "the worker")
    serve(cell, one)
    router(cell)
    for i in range(40):
        cell.send(f"q{i}", [[deadly_engine.DEADLY, 0.0]] if i == 20 else [[1.0, 2.0]], application="numbers", **asked)
    cell.until(lambda: len(cell.answers) == 40, "all answers", 120)
    assert reason(cell.answers["q20"][-1]) == "poison"
    others = {outcome(r) for tag, records in cell.answers.items() for r in records if tag != "q20"}
    assert others == {"ok"}
    assert state(cell, "w1") == "active", "what a record does is not the instance's fault"


def test_partitions_move_without_loss(cell):
    first, second = supervisor(cell, "w1"), supervisor(cell, "w2")
    serve(cell, first)
    router(cell)
    cell.place("w2", 1)
    cell.until(lambda: state(cell, "w2") == "active", "the second instance")
    one, two = (Owner(worker=s.name, boot_id=s.boot_id, instance=0) for s in (first, second))
    for round_, owners in enumerate([[two] * 4, [one, two, one, two], [one] * 4, [two] * 4]):
        for i in range(100):
            cell.send(f"r{round_}-{i}", application="numbers", latency_ms=60_000)
        cell.assign(owners)
        wanted = {p for p, owner in enumerate(owners) if owner == two}
        cell.until(
            lambda w=wanted: set(taken(cell, "w2")) == w and set(taken(cell, "w1")) == {0, 1, 2, 3} - w, "the move"
        )
    cell.until(lambda: len(cell.answers) == 400, "all answers")
    cell.place("w1", 0)
    cell.until(lambda: state(cell, "w1") is None, "the drained instance to be gone")


def test_a_supervisor_with_a_verdict_comes_back_under_a_new_boot_id(cell):
    from infaas.schemas.metadata import Verdict

    one = supervisor(cell)
    serve(cell, one)
    before, pid = one.boot_id, child(cell, "w1").pid
    cell.lead["scaler"].write(Verdict(worker="w1", boot_id=before))
    cell.until(lambda: "w1" in (now := cell.table.view().live_workers) and now["w1"].boot_id != before, "the new life")
    assert cell.table.view().live_workers["w1"].boot_id == one.boot_id > before
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid)


def test_a_newer_supervisor_ends_an_older_one(cell):
    from infaas.schemas.errors import Fenced

    old = supervisor(cell)
    cell.until(lambda: "w1" in cell.table.view().live_workers, "the old one")
    cell.others.remove(old)
    new = supervisor(cell)
    cell.until(lambda: cell.table.view().workers["w1"].boot_id == new.boot_id, "the new one")
    with pytest.raises(Fenced):  # noqa: PT012 - it notices when it reads the record
        for _ in range(1000):
            old.step()
    old.abandon()
