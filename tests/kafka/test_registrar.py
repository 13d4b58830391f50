"""Registration on real Kafka: a model comes in, variants are built by a real worker, and bad input gets an answer."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import onnx
import orjson
import pytest
from cell import outcome, reason
from models import VALIDATION, classifier, tree, validation
from office import Office
from processes import freeze

from infaas.bus.admin import Admin
from infaas.bus.repository import digest_of
from infaas.registrar.loop import Registrar
from infaas.registrar.settings import RegistrarSettings
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings
from infaas.schemas import commands
from infaas.schemas.commands import RegisterModel, UnregisterModel
from infaas.schemas.topics import REGISTRATIONS
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor


@pytest.fixture
def office(settings, environment):
    one = Office(settings)
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()


def registrar(office):
    one = Registrar(settings=office.settings, own=RegistrarSettings())
    office.others.append(one)
    return one


def builders(office):
    office.others.append(Scaler(settings=office.settings, own=ScalerSettings()))
    office.others.append(Supervisor(settings=office.settings, own=WorkerSettings(name="w1", cores=2)))


def test_a_model_becomes_measured_variants_with_topics(office):
    registrar(office)
    builders(office)
    office.register("a")
    assert orjson.loads(office.answer("a").value) == {"architecture": "linear", "version": 1, "state": "accepted"}
    office.until(lambda: office.state("linear") == (1, "ready"), "the variants")
    variants = office.table.view().variants
    assert sorted(variants) == [
        "linear.v1.onnxruntime-cpu1-fp32", "linear.v1.onnxruntime-cpu1-int8",
        "linear.v1.onnxruntime-cpu2-fp32", "linear.v1.onnxruntime-cpu2-int8",
    ]  # fmt: skip
    exact = variants["linear.v1.onnxruntime-cpu1-fp32"]
    assert exact.profile.accuracy == 1.0
    assert exact.profile.agreement == 1.0
    assert [p.batch for p in exact.profile.points] == [1, 2, 4]
    dynamic = variants["linear.v1.onnxruntime-cpu1-int8"]
    assert dynamic.profile.max_batch == 1, "a neighbour's row changes its answer"
    assert exact.profile.load_ms > 0
    assert exact.profile.peak_memory_bytes > 10_000_000
    assert exact.profile.path.query_ms > 0.005, "beside the model an instance takes, parses and answers"
    assert exact.cost_per_hour > 0
    assert all(v.state in ("ready", "dominated") for v in variants.values())
    admin = Admin(office.settings, client_id="look")
    topics = admin.topics()
    admin.close()
    assert {office.settings.names.work(v) for v in variants} <= set(topics)
    what_comes_after_a_first_version(office)


def what_comes_after_a_first_version(office):
    # Again: the same command, the same answer, no new version.
    office.register("again")
    assert orjson.loads(office.answer("again").value)["version"] == 1
    # Another validation set is another contract.
    office.register("other", architecture="second", val=validation())
    record = office.answer("other")
    assert (outcome(record), reason(record)) == ("rejected", "bad_model")
    assert b"contract.validation_digest" in record.value
    # Another artifact is version 2, if it says so; when it is ready, version 1 retires.
    office.register("silent", model=tree_like_again(), cores=(1,))
    record = office.answer("silent")
    assert (outcome(record), reason(record)) == ("rejected", "already_registered")
    assert orjson.loads(record.value)["field"] == "replace"
    office.register("two", model=tree_like_again(), cores=(1,), replace=True)
    assert orjson.loads(office.answer("two").value) == {
        "architecture": "linear", "version": 2, "state": "accepted", "replaced": 1
    }  # fmt: skip
    office.until(lambda: office.state("linear") == (2, "ready"), "version 2")
    office.until(lambda: not any(".v1." in v for v in office.table.view().variants), "version 1 to be gone")
    office.tell("bye", UnregisterModel(architecture="linear"))
    assert outcome(office.answer("bye")) == "ok"
    office.until(lambda: not office.table.view().variants, "all variants to be gone")
    assert office.state("linear") == (2, "retired")


def tree_like_again() -> bytes:
    model = onnx.load_from_string(classifier())
    model.producer_name = "another"
    return model.SerializeToString()


def test_int8_of_a_model_without_plain_operators_is_not_applicable(office):
    registrar(office)
    builders(office)
    graph = onnx.load_from_string(tree())
    del graph.graph.output[1]
    office.register("a", architecture="ml", model=graph.SerializeToString(), cores=(1,))
    assert outcome(office.answer("a")) == "ok"
    office.until(lambda: office.state("ml") == (1, "ready"), "the variants")
    variants = office.table.view().variants
    assert variants["ml.v1.onnxruntime-cpu1-fp32"].state == "ready"
    rejected = variants["ml.v1.onnxruntime-cpu1-int8"]
    assert rejected.state == "rejected"
    assert "dynamic int8" in rejected.reason


def bad_models():
    """What is asked of `linear`, and the field that is named."""
    wrong_outputs = onnx.load_from_string(classifier())
    wrong_outputs.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    outside = onnx.load_from_string(classifier())
    weights = outside.graph.initializer[0]
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    scores = onnx.load_from_string(classifier())
    scores.graph.output[0].type.tensor_type.shape.dim.add()
    return {
        "external data": (dict(model=outside.SerializeToString()), "artifact"),
        "nothing to predict by": (dict(model=scores.SerializeToString()), "artifact.outputs"),
        "no onnx": (dict(model=b"hello"), "artifact"),
        "torch's": (dict(model=VALIDATION), "artifact"),
        "fixed rows": (dict(model=wrong_outputs.SerializeToString()), "artifact.inputs.x.shape"),
        "no npz": (dict(val=b"PK nothing"), "validation_set"),
        "wrong width": (dict(val=validation(width=3)), "validation_set.x.shape"),
        "no labels": (dict(val=validation(extra=np.zeros(3))), "validation_set"),
        "bad generator": (dict(generators=("magic",)), "generators"),
        "no cores": (dict(cores=(0,)), "cores"),
    }


def test_bad_input_is_answered_naming_the_field(office):
    registrar(office)
    expected = {}
    for tag, (asked, field) in bad_models().items():
        office.register(tag, **asked)
        expected[tag] = field
    nowhere = RegisterModel(
        architecture="x", application="y", artifact=digest_of(b"no"), validation_set=digest_of(b"no")
    )
    office.tell("nowhere", nowhere)
    office.tell("not json", None, value=b"hello")
    bad_name = orjson.loads(commands.encode(nowhere)) | {"architecture": "Ä"}
    office.tell("bad name", None, value=orjson.dumps(bad_name))
    office.tell("typo", None, value=orjson.dumps(orjson.loads(commands.encode(nowhere)) | {"max_bach": 1}))
    office.tell("unknown", UnregisterModel(architecture="nobody"))
    expected |= {
        "nowhere": "artifact", "not json": "value", "bad name": "register_model.architecture",
        "typo": "register_model.max_bach", "unknown": "architecture",
    }  # fmt: skip
    for tag, field in expected.items():
        record = office.answer(tag)
        assert outcome(record) == "rejected", tag
        assert orjson.loads(record.value)["field"] == field, (tag, record.value)
    assert not office.table.view().architectures


def test_what_nobody_foresaw_in_one_command_ends_no_registrar(office, monkeypatch):
    from infaas.registrar import handler

    def surprised(view, command):
        if command.architecture == "odd":
            raise RuntimeError("a surprise")
        return accept_before(view, command)

    accept_before = handler.already
    monkeypatch.setattr(handler, "already", surprised)
    registrar(office)
    office.register("odd", architecture="odd")
    office.register("even", architecture="even")
    record = office.answer("odd")
    assert (outcome(record), reason(record)) == ("failed", "internal")
    assert b"a surprise" in record.value
    assert outcome(office.answer("even")) == "ok"


@contextmanager
def process(office, name):
    """A registrar as it runs in earnest."""
    env = {**os.environ, "INFAAS_REGISTRAR_NAME": name, "INFAAS_PARENT_PID": str(os.getpid())}
    one = subprocess.Popen([sys.executable, "-m", "infaas.registrar"], env=env)
    try:
        before = office.table.epochs.get("registrar", -1)
        office.until(lambda: office.table.epochs.get("registrar", -1) > before, "its claim")
        yield one
    finally:
        one.send_signal(signal.SIGCONT)
        one.kill()
        one.wait(20)


def test_a_registrar_that_is_killed_goes_on_where_it_was(office):
    """Killed with a command on its way to it, and killed with variants planned: each command is answered, each model built."""
    small = {"cores": (1,), "generators": ("onnx",)}
    with process(office, "one"):
        office.register("warm", architecture="warm", **small)
        office.answer("warm")
        office.register("first", architecture="first", **small)
    with process(office, "two"):
        assert orjson.loads(office.answer("first").value)["version"] == 1
        office.register("second", architecture="second", **small)
        office.until(lambda: office.state("second"), "the record")
    registrar(office)
    builders(office)
    assert orjson.loads(office.answer("second").value)["version"] == 1
    names = ("warm", "first", "second")
    office.until(lambda: all(office.state(n) == (1, "ready") for n in names), "the variants", 120)


def test_a_frozen_registrar_that_wakes_up_acknowledges_nothing_that_does_not_count(office):
    with process(office, "one") as first:
        freeze(first.pid)
        office.register("a")
        with process(office, "two"):
            assert outcome(office.answer("a")) == "ok"
            os.kill(first.pid, signal.SIGCONT)
            for n in range(10):
                office.register(f"m{n}", architecture=f"m{n}")
                assert outcome(office.answer(f"m{n}")) == "ok"
                office.until(lambda n=n: office.state(f"m{n}"), "what was acknowledged, in every reader's view")
            assert all(office.state(f"m{n}")[0] == 1 for n in range(10))


def test_a_contract_binds_as_long_as_something_is_served_under_it(office):
    registrar(office)
    office.register("a")
    assert outcome(office.answer("a")) == "ok"
    for tag, asked, field in (
        ("other set", dict(val=validation()), "contract.validation_digest"),
        ("labels", dict(labels=("x", "y", "z")), "contract.labels"),
        ("elsewhere", dict(application="lines", cores=(1,)), "application"),
    ):
        office.register(tag, **asked)
        record = office.answer(tag)
        assert outcome(record) == "rejected", tag
        assert orjson.loads(record.value)["field"] == field
    office.tell("bye", UnregisterModel(architecture="linear"))
    assert outcome(office.answer("bye")) == "ok"
    office.register("anew", val=validation())
    assert orjson.loads(office.answer("anew").value)["version"] == 2


def test_a_variant_that_no_worker_is_large_enough_for_holds_nobody_up(office):
    registrar(office)
    office.others.append(Scaler(settings=office.settings, own=ScalerSettings()))
    office.others.append(Supervisor(settings=office.settings, own=WorkerSettings(name="small", cores=1)))
    office.register("a", generators=("onnx",))
    assert outcome(office.answer("a")) == "ok"
    office.until(lambda: office.state("linear") == (1, "ready"), "the small variant")
    large = "linear.v1.onnxruntime-cpu2-fp32"
    assert office.table.view().variants[large].state == "planned"
    office.others.append(Supervisor(settings=office.settings, own=WorkerSettings(name="large", cores=2)))
    office.until(lambda: office.table.view().variants[large].state in ("ready", "dominated"), "the large one")


SLOW_S = 0.5
"""A step longer than this delays a tick by as long as it is from one to the next."""


def test_a_broker_that_hangs_while_a_reply_topic_is_looked_up_holds_up_no_step(broker, hurt, environment):
    """A caller's own topic may be led by a broker that does not answer, where all others do."""
    admin = Admin(hurt, client_id="t")
    admin.make_topics({"callers-own": 1})
    office = Office(hurt)
    leader = registrar(office)
    office.until(lambda: leader.leadership.is_leader, "leadership")
    office.others.remove(leader)
    command = RegisterModel(
        architecture="a",
        application="b",
        artifact=digest_of(b""),
        validation_set=digest_of(b""),
        generators=("magic",),
    )
    own_topic = [("correlation-id", b"own"), ("reply-to", b"callers-own"), ("reply-partition", b"0")]
    office.outbox.send_and_wait(hurt.names.of(REGISTRATIONS), value=commands.encode(command), headers=own_topic)
    office.until(lambda: leader._handler._commands.waiting, "the command to be there")
    epoch = leader.leadership.epoch
    freeze(broker.pid)
    took, until = [], time.monotonic() + 3.0
    try:
        while time.monotonic() < until:
            begun = time.monotonic()
            leader.step()
            took.append(time.monotonic() - begun)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert max(took) < SLOW_S
    office.others.append(leader)
    office.register("after", architecture="after", generators=("magic",))
    assert reason(office.answer("after")) == "bad_model", "the one in hand was answered, somewhere, and then this one"
    assert leader.leadership.epoch == epoch
    admin.delete_topics(["callers-own"])
    for closing in (leader, office, admin):
        closing.close()
