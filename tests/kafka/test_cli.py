"""Commands on a real Kafka: what went wrong is read back, asked about and tried again; nothing is replaced or left silently."""

import contextlib
import signal
import subprocess
import sys
import time

import orjson
import pytest
from cell import VARIANT, Cell, profile
from models import VALIDATION, classifier, tree
from processes import start
from topic_reader import TopicReader
from typer.testing import CliRunner

from infaas.bus.admin import Admin
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.span import SpanReader
from infaas.bus.telemetry import Reporter
from infaas.cli.main import app
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.schemas.errors import BadTensor
from infaas.schemas.metadata import Hardware, Instance, Owner, Worker
from infaas.schemas.reports import Backlog, BacklogEntry, Position
from infaas.schemas.topics import QUERIES, TELEMETRY
from infaas.store.facts import FactWriter

READY_S = 60.0


def infaas(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def outbox(settings, environment):
    one = Outbox(settings, client_id="test")
    yield one
    one.close()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "model.onnx").write_bytes(classifier())
    (tmp_path / "other.onnx").write_bytes(tree())
    (tmp_path / "validation.npz").write_bytes(VALIDATION)
    return tmp_path


@contextlib.contextmanager
def service(module, folder):
    with (folder / f"{module}.log").open("wb") as log:
        process = start([sys.executable, "-m", module], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def bury(settings, outbox, value, headers, cause):
    """Sends a query and puts it where a service would that can't handle it; returns where it was."""
    topic = settings.names.of(QUERIES)
    sent = outbox.send_and_wait(topic, key=b"k", value=value, headers=headers, partition=3)
    reader = SpanReader(settings, client_id="test")
    (record,) = reader.read(topic, 3, sent.offset, sent.offset + 1)
    reader.close()
    written = []
    DeadLetters(outbox, settings, service="router").put(
        record, stage="select", cause=cause, on_done=lambda: written.append(1)
    )
    deadline = time.monotonic() + 30
    while not written:
        assert time.monotonic() < deadline
        outbox.poll(0.05)
    return f"{topic}-3-{sent.offset}"


def test_dead_letters_are_listed_shown_and_tried_again(settings, outbox):
    assert infaas("dead-letters", "list").stderr.strip() == "· no dead letters"
    wrong = BadTensor("inputs[0].shape", "[-1, 4]", [[-1]])
    json_place = bury(
        settings, outbox, b'{"inputs": [{"name": "x"}]}', [("infaas-application", b"a"), ("mark", b"[red]")], wrong
    )
    raw_place = bury(settings, outbox, bytes(range(250, 256)) + b"abc", [], "no engine")

    listed = [orjson.loads(line) for line in infaas("dead-letters", "list", "--json").stdout.splitlines()]
    assert [letter["was"] for letter in listed] == [json_place, raw_place]
    assert [letter["retried"] for letter in listed] == [False, False]
    table = infaas("dead-letters", "list").stdout
    for word in (json_place, "select", "BadTensor", "[-1, 4]", "no engine"):
        assert word in table

    shown = infaas("dead-letters", "show", listed[0]["number"]).stdout
    for line in ("header infaas-application: a", "header mark: [red]", '"name": "x"', f"was {json_place}", "key    k"):
        assert line in shown
    assert "fa fb fc fd fe ff 61 62 63" in infaas("dead-letters", "show", listed[1]["number"]).stdout

    again = infaas("dead-letters", "retry", listed[0]["number"])
    assert again.exit_code == 0, again.output
    topic, _, offset = json_place.rpartition("-")
    reader = SpanReader(settings, client_id="test")
    (record,) = reader.read(topic.removesuffix("-3"), 3, int(offset) + 2, int(offset) + 3)
    reader.close()
    assert (record.key, record.value) == (b"k", b'{"inputs": [{"name": "x"}]}')
    assert dict(record.headers) == {
        "infaas-application": b"a", "mark": b"[red]", "__connect.errors.retried": str(listed[0]["number"]).encode(),
    }  # fmt: skip
    after = [orjson.loads(line) for line in infaas("dead-letters", "list", "--json").stdout.splitlines()]
    assert [letter["retried"] for letter in after] == [True, False]
    assert "not retried yet" in infaas("dead-letters", "retry", listed[0]["number"]).stderr.replace(
        "that was not", "not"
    )
    assert infaas("dead-letters", "show", 4711).exit_code == 1


def test_a_refusal_is_explained_and_what_left_no_record_is_said_to_have_none(settings, environment):
    cell = Cell(settings)
    cell.publish("sha256:" + "0" * 64, found=profile(accuracy=0.9))
    cell.others.append(Router(settings=settings, own=RouterSettings()))
    cell.send("refused", application="numbers", latency_ms=30_000, min_accuracy=0.99)
    query_id = cell.answer("refused").header_map["infaas-query-id"].decode()
    cell.until(lambda: infaas("explain", query_id).exit_code == 0, "the decision record")
    cell.others.pop().close()
    explained = infaas("explain", query_id)
    for word in (
        "Reject by the router",
        "min_accuracy 0.99",
        "application numbers",
        "accuracy",
        "metadata up to offset",
    ):
        assert word in explained.stdout
    other = f"{settings.topic_prefix}queries-0-999999"
    unknown = infaas("explain", other)
    assert unknown.exit_code == 1
    assert f"no decision record of {other}" in unknown.stderr
    assert "reaches back to" in unknown.stderr
    assert "not in its topic" in unknown.stderr
    assert "<topic>-<partition>-<offset>" in infaas("explain", "nonsense").stderr
    cell.close()


def test_a_dispatch_is_explained_from_its_record_else_made_again_from_the_topics(settings, environment):
    cell = Cell(settings)
    admin = Admin(settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    ids = two_dispatches(cell, settings)
    told_as_recorded_and_as_reconstructed(ids)
    admin.delete_below({(settings.names.of(TELEMETRY), 0): ends(admin, settings.names.of(TELEMETRY))})
    deaf = infaas("explain", ids["silent"])
    assert "does not reach back so far, and nothing is known of queues" in " ".join(deaf.stdout.split())
    for other in reversed(cell.others):
        other.close()
    cell.close()
    admin.close()


def two_dispatches(cell, settings):
    """Query ids: of `asked` there is a decision record. The worker's facts and reports are there, and it is not: what is sent stays."""
    cell.publish("sha256:" + "0" * 64, found=profile(accuracy=0.9))
    facts = FactWriter(cell.outbox, settings, "b1")
    hardware = Hardware(cores=1, memory_bytes=10**9)
    facts.write(Worker(worker="w", boot_id="b1", machine_type="local", hardware=hardware, price_per_hour=0.1))
    facts.write(Instance(worker="w", boot_id="b1", variant=VARIANT, instance=0, state="active", taken=(0, 1, 2, 3)))
    cell.assign([Owner(worker="w", boot_id="b1", instance=0)] * 4)
    entry = BacklogEntry(
        variant=VARIANT, instance=0, query_ms=1000.0, positions=(Position(partition=0, end=7, completed=4),)
    )
    report = Backlog(worker="w", boot_id="b1", entries=(entry,))
    router = Router(settings=settings, own=RouterSettings(sample=0.0))
    cell.others.append(router)
    cell.until(lambda: cell.table.view().assignments and cell.table.view().instances, "an owner")
    Reporter(cell.outbox, settings).send(report, "w")
    cell.until(lambda: router._load._lives, "the report")
    work = TopicReader(settings, settings.names.work(VARIANT))
    cell.others.append(work)
    cell.send("asked", application="numbers", latency_ms=30_000, explain="true")
    cell.send("silent", application="numbers", latency_ms=30_000)
    cell.until(lambda: len(work.records) == 2, "both dispatched")
    ids = {r.header_map["correlation-id"].decode(): r.header_map["infaas-query-id"].decode() for r in work.records}
    cell.until(lambda: not cell.outbox.pending and not router._outbox.pending, "the decision record")
    return ids


def told_as_recorded_and_as_reconstructed(ids):
    recorded = infaas("explain", ids["asked"])
    assert recorded.exit_code == 0, recorded.output
    assert "Dispatch by the router" in recorded.stdout
    assert "recorded then, on the metadata up to offset" in recorded.stdout
    assert "reconstructed" not in recorded.output

    again = infaas("explain", ids["silent"])
    assert again.exit_code == 0, again.output
    assert "Dispatch by the router" in again.stdout
    assert "reconstructed now, on the metadata up to offset" in again.stdout
    assert "1 reports of workers" in again.stdout
    assert f"no decision record of {ids['silent']}" in again.stderr

    (one,) = [orjson.loads(line) for line in infaas("explain", ids["asked"], "--json").stdout.splitlines()]
    (two,) = [orjson.loads(line) for line in infaas("explain", ids["silent"], "--json").stdout.splitlines()]
    assert (one["decision"], one["view_offset"]) == (two["decision"], two["view_offset"]), "on the same picture"
    assert one["inputs"]["found"] == two["inputs"]["found"] == VARIANT
    assert "reconstructed" in two["inputs"]
    (candidate,) = two["inputs"]["candidates"]
    assert (candidate["state"], candidate["worker"]) == ("active", "w")
    assert 2 < candidate["backlog"] <= 3, "as it was reported, less what was worked off since"


def ends(admin, topic):
    return admin.watermarks({topic: 1})[topic, 0][1]


def test_a_watcher_that_leaves_is_told_that_it_goes_on_and_another_model_of_the_name_is_not_taken_silently(
    environment, files
):
    asked = (
        "linear",
        "--application",
        "points",
        "--model",
        files / "model.onnx",
        "--validation-set",
        files / "validation.npz",
    )
    with service("infaas.registrar", files):
        command = [sys.executable, "-m", "infaas.cli.main", "register", *map(str, asked), "--wait"]
        watcher = start(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, stdin=subprocess.DEVNULL)
        begun = watcher.stderr.readline()
        assert "linear version 1: accepted" in begun
        watcher.send_signal(signal.SIGINT)
        _, said = watcher.communicate(timeout=60)
        assert watcher.returncode == 130
        assert "goes on without you" in said
        assert "infaas unregister linear" in said
        deadline = time.monotonic() + READY_S
        while "planned" not in infaas("variants", "--json").stdout:
            assert time.monotonic() < deadline
        assert "no worker is alive" in infaas("variants").stdout
        same = infaas("register", *asked)
        assert "linear version 1" in same.stderr, same.output
        other = [files / "other.onnx" if argument == files / "model.onnx" else argument for argument in asked]
        refused = infaas("register", *other)
        assert refused.exit_code == 1
        assert "--replace" in refused.stderr
        assert "version 1, application points, sha256:" in refused.stderr
        status = infaas("status")
        assert "nobody leads" in status.stdout
        assert "hindered: linear.v1" in status.stderr


def test_up_says_what_is_not_installed_before_it_starts_anything(tmp_path, monkeypatch):
    for module in ("scipy", "onnx", "jgo"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delenv("INFAAS_BOOTSTRAP_SERVERS", raising=False)
    refused = infaas("up", "--data-dir", tmp_path)
    assert refused.exit_code == 1
    assert "onnx, scipy, jgo: pip install 'infaas[registrar,scaler,embedded]'" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorrt", "torch_neuronx"])
def test_doctor_takes_no_stub_for_a_library(name, tmp_path, monkeypatch, environment):
    (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "torch.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "1")
    for module in (name, "torch"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    try:
        lines = infaas("doctor").stdout.splitlines()
    finally:
        for module in (name, "torch"):
            sys.modules.pop(module, None)
    (line,) = [line for line in lines if f"engine {name.removeprefix('torch_').removesuffix('x')}" in line]
    assert "not usable" in line


def test_nobody_there_is_said_with_the_address_that_was_tried(monkeypatch):
    monkeypatch.setenv("INFAAS_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    from infaas.client import Client
    from infaas.schemas.errors import KafkaUnavailable

    command = [sys.executable, "-m", "infaas.cli.main", "variants"]
    variants = start(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )  # both wait, so both at once
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:9 .*infaas up.*INFAAS_BOOTSTRAP_SERVERS"):
        Client()
    _, message = variants.communicate(timeout=60)
    assert variants.returncode == 1
    assert "Tried 127.0.0.1:9." in message
