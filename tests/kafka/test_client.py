"""The caller's library on real Kafka, against real services."""

import asyncio
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from answering import answer, place
from cell import VARIANT, Cell, doubling_model
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from onnx import TensorProto, helper

from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.bus.repository import Repository
from infaas.client import AsyncClient, Client, exchange
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings
from infaas.schemas import headers
from infaas.schemas.errors import (
    BadInput,
    ClientClosed,
    Expired,
    InferenceFailed,
    PayloadTooLarge,
    QueryTimeout,
    Rejected,
)
from infaas.schemas.headers import headers_of
from infaas.schemas.topics import QUERIES
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
LIMIT = 64 * 1024


def thirds_model() -> bytes:
    """y = x / 3: as text an answer is several times as long as its question."""
    third = helper.make_tensor("third", TensorProto.FLOAT, [1], [1 / 3])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "third"], ["y"])],
        "thirds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [third],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.fixture
def cell(settings, environment, monkeypatch, request):
    """Services in a thread of the test's own, so that callers can simply wait; a parameter is the model, and the environment."""
    model, more = getattr(request, "param", (doubling_model, {}))
    for name, text in {"INFAAS_MAX_QUERY_BYTES": str(LIMIT), **more}.items():
        monkeypatch.setenv(name, text)
    settings = settings.model_copy(update={"max_query_bytes": LIMIT})
    one = Cell(settings, roles=("registrar",))
    admin = Admin(settings, client_id="test")
    admin.ensure_variant_topics(VARIANT)
    admin.close()
    one.publish(Repository().put(model()))
    one.repository = environment
    one.others += [
        Scaler(settings=settings, own=ScalerSettings()),
        Router(settings=settings, own=RouterSettings()),
        Supervisor(settings=settings, own=WorkerSettings(name="w1", cores=2)),
    ]
    stop = threading.Event()
    failed = []

    def serve():
        try:
            while not stop.is_set():
                one.step()
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    yield one
    stop.set()
    thread.join()
    for other in reversed(one.others):
        other.close()
    one.close()
    assert not failed


def test_numpy_in_numpy_out_with_all_a_caller_wants_to_know(cell):
    with Client(cell.settings) as client:
        reply = client.infer("numbers", {"x": X}, latency_ms=60_000, id="mine")
        np.testing.assert_array_equal(reply.outputs["y"], X * 2)
        assert (reply.outcome, reply.variant, reply.worker, reply.id) == ("ok", VARIANT, "w1", "mine")
        assert reply.objective_met
        assert reply.cost > 0
        assert reply.latency_ms >= reply.inference_ms
        again = client.infer(None, {"x": X}, architecture="double", binary=False, outputs=("y",))
        np.testing.assert_array_equal(again.outputs["y"], X * 2)
        assert client.infer(None, {"x": X}, variant=VARIANT, latency_ms=10_000).outcome == "ok"


def test_what_is_not_ok_is_raised_or_told(cell):
    with Client(cell.settings) as client:
        with pytest.raises(Rejected, match="accuracy") as rejected:
            client.infer("numbers", {"x": X}, min_accuracy=0.99)
        assert rejected.value.code == "accuracy"
        assert VARIANT in rejected.value.suggestion
        with pytest.raises(Rejected, match="unknown application"):
            client.infer("nothing", {"x": X})
        with pytest.raises(InferenceFailed, match="bad_tensor"):
            client.infer("numbers", {"x": X.astype(np.float64)})
        with pytest.raises(Expired):
            client.infer("numbers", {"x": X}, latency_ms=0.001)
        told = client.infer("numbers", {"x": X}, min_accuracy=0.99, raise_for_outcome=False)
        assert (told.outcome, told.reason) == ("rejected", "accuracy")
        for bad in (
            dict(application=None),
            dict(application="a", variant=VARIANT),
            dict(application="numbers", min_accuracy=7),
        ):
            with pytest.raises(BadInput):
                client.infer(inputs={"x": X}, **bad)
        with pytest.raises(TypeError, match="latency_sm"):
            client.infer("numbers", {"x": X}, latency_sm=20)


def test_many_threads_and_many_queries_at_once(cell):
    with Client(cell.settings) as client:
        futures = [client.submit("numbers", {"x": X + n}, latency_ms=60_000) for n in range(500)]
        for n, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(60).outputs["y"], (X + n) * 2)
        assert client.duplicates == 0

    async def many():
        async with AsyncClient(cell.settings) as client:
            return await asyncio.gather(*(client.infer("numbers", {"x": X}, latency_ms=60_000) for _ in range(50)))

    assert all(reply.outcome == "ok" for reply in asyncio.run(many()))


def test_the_first_answer_counts_and_others_are_counted(cell):
    with Client(cell.settings) as client:
        reply = client.infer("numbers", {"x": X}, latency_ms=60_000)
        outbox = Outbox(cell.settings, client_id="twice")
        headers = headers_of(reply.headers.items())
        partition = client._exchange._reader.partition
        outbox.send_and_wait(client._exchange._reader.topic, value=b"{}", headers=headers, partition=partition)
        outbox.close()
        client.infer("numbers", {"x": X}, latency_ms=60_000)
        assert client.duplicates == 1


def test_a_query_above_the_topics_limit_goes_by_claim_check(cell):
    rows = np.ones((9 * 1024, 2), np.float32)
    assert rows.nbytes > LIMIT
    with Client(cell.settings) as client:
        reply = client.infer("numbers", {"x": rows}, latency_ms=60_000)
        np.testing.assert_array_equal(reply.outputs["y"], rows * 2)


@pytest.mark.parametrize("cell", [(thirds_model, {})], indirect=True)
def test_an_answer_above_the_topics_limit_goes_by_claim_check(cell):
    rows = np.ones((6_000, 2), np.float32)
    with Client(cell.settings) as client:
        reply = client.infer("numbers", {"x": rows}, binary=False, latency_ms=60_000)
        np.testing.assert_allclose(reply.outputs["y"], rows / 3)
        assert headers.CLAIM_CHECK in reply.headers
        (payload,) = [path for path in (cell.repository / "payloads").rglob("*") if path.is_file()]
        assert payload.stat().st_size > LIMIT, "of the answer alone: the question was small enough"
        small = client.infer("numbers", {"x": X}, binary=False, latency_ms=60_000)
        assert headers.CLAIM_CHECK not in small.headers


NOT_ANSWERED = "sha256:" + "0" * 64


@pytest.mark.parametrize("cell", [(doubling_model, {"INFAAS_PAYLOAD_FETCH_MS": "2000"})], indirect=True)
def test_a_fetch_that_hangs_kills_its_instance_twice_and_is_answered_and_so_are_its_neighbours(cell):
    """A store that takes the question and never answers: here a pipe into which nobody writes."""
    store = cell.repository / "payloads"
    store.mkdir()
    os.mkfifo(store / NOT_ANSWERED.removeprefix("sha256:"))
    with Client(cell.settings) as client:
        before = client.infer("numbers", {"x": X}, latency_ms=60_000)
        hung = {headers.CLAIM_CHECK: NOT_ANSWERED}
        asked = [client.submit("numbers", {"x": X}, timeout=120) for _ in range(5)]
        asked.append(client.submit("numbers", {"x": X}, headers=hung, timeout=120, raise_for_outcome=False))
        asked += [client.submit("numbers", {"x": X}, timeout=120) for _ in range(5)]
        replies = [future.result(120) for future in asked]
        assert (replies[5].outcome, replies[5].reason) == ("failed", "poison")
        assert {reply.outcome for n, reply in enumerate(replies) if n != 5} == {"ok"}
        assert client.infer("numbers", {"x": X}, latency_ms=60_000).worker == before.worker


def wait_for(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nobody_answers_for_somebody_else(settings):
    with Client(settings) as client:
        future = client.submit("numbers", {"x": X}, timeout=60, raise_for_outcome=False)
        wait_for(lambda: next(iter(client._exchange._open.values())).query_id)
        answer(settings, client, lambda r: [f"{r.topic}-{r.partition}-{r.offset + 1}", "", "other"])
        wait_for(lambda: client.mismatched == 3)
        assert not future.done()
        answer(settings, client, lambda r: [place(r)])
        assert future.result(20).outcome == "expired"
        assert client.duplicates == 0


def test_a_failure_of_the_clients_thread_ends_all_that_wait_and_all_that_ask(settings):
    client = Client(settings)
    future = client.submit("numbers", {"x": X}, timeout=60)

    def broken(*_):
        raise RuntimeError("out of order")

    client._exchange._reader.poll = broken
    with pytest.raises(ClientClosed, match="out of order"):
        future.result(20)
    with pytest.raises(ClientClosed, match="out of order"):
        client.infer("numbers", {"x": X})
    client.close()


def test_small_queries_that_go_together_are_not_too_large_for_a_cell_whose_limit_is_below_ours(settings):
    topic = settings.names.of(QUERIES)
    limit = ConfigEntry("max.message.bytes", "16384", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[limit])
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.incremental_alter_configs([resource])[resource].result(30)
    with Client(settings) as client:
        futures = [client.submit("numbers", {"x": X}, timeout=60, key=b"k") for _ in range(500)]
        wait_for(lambda: all(asked.query_id for asked in client._exchange._open.values()))
        assert not any(future.done() for future in futures)
        with pytest.raises(PayloadTooLarge):
            client.infer("numbers", {"x": np.zeros((4_000, 2), np.float32)}, timeout=60)


def test_what_nobody_waits_for_any_more_is_forgotten(settings, monkeypatch):
    monkeypatch.setattr(exchange, "LATE_FOR_S", 0.2)
    with Client(settings) as client:
        for _ in range(3):
            with pytest.raises(QueryTimeout):
                client.infer("numbers", {"x": X}, timeout=0.01)
        wait_for(lambda: not client._exchange._late)


def test_of_those_that_nobody_waits_for_any_more_so_many_are_remembered_and_no_more(settings, monkeypatch):
    monkeypatch.setattr(exchange, "LATE_LIMIT", 2)
    with Client(settings) as client:
        futures = [client.submit("numbers", {"x": X}, timeout=0.01) for _ in range(5)]
        for future in futures:
            with pytest.raises(QueryTimeout):
                future.result(20)
        wait_for(lambda: len(client._exchange._late) == 2)


def test_no_answer_is_a_timeout_and_closing_ends_waiting(settings):
    client = Client(settings)
    with pytest.raises(QueryTimeout, match="infaas status"):
        client.infer("numbers", {"x": X}, timeout=0.3)
    future = client.submit("numbers", {"x": X}, timeout=60)
    client.close()
    with pytest.raises(ClientClosed):
        future.result(5)
    with pytest.raises(ClientClosed):
        client.infer("numbers", {"x": X})


def test_the_client_imports_nothing_heavy():
    heavy = "{'torch','onnxruntime','onnx','faststream','scipy','sklearn','rich','typer'}"
    code = f"import sys, infaas.client; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
