"""`infaas up` as a user runs it: it comes up, answers, restarts what dies, and leaves nothing behind however it ends."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import orjson
import psutil
import pytest
from models import VALIDATION, classifier
from processes import family, left_of, start

from infaas.bus.outbox import Outbox
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.settings import BusSettings
from infaas.client import Client, follow

READY_S = 90.0


class Up:
    """One `infaas up`, and the other terminal beside it."""

    def __init__(self, folder, *options):
        self.log = folder / "up.log"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("INFAAS_")} | {
            "INFAAS_DATA_DIR": str(folder / "data"),
            "INFAAS_REPOSITORY_URL": (folder / "repository").as_uri(),
            "INFAAS_WORKER_CACHE_DIR": str(folder / "cache"),
        }
        with self.log.open("wb") as out:
            self.process = start(
                [sys.executable, "-m", "infaas.cli.main", "up", "--data-dir", str(folder / "data"), *options],
                env=self.environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_until_ready()
            self.servers = self.infaas("broker", "status").stdout.split()[0]
        except BaseException:
            self.end()
            raise

    def _wait_until_ready(self):
        deadline = time.monotonic() + READY_S
        while "ready; logs" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def infaas(self, *arguments, check=True):
        return subprocess.run(
            [sys.executable, "-m", "infaas.cli.main", *arguments], env=self.environment, capture_output=True, text=True,
            check=check, timeout=120,
        )  # fmt: skip

    @property
    def settings(self):
        return BusSettings(bootstrap_servers=self.servers, session_timeout_ms=1000)

    def end(self):
        there = family(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in left_of(there, 20):
            process.kill()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "model.onnx").write_bytes(classifier())
    (tmp_path / "validation.npz").write_bytes(VALIDATION)
    return tmp_path


@pytest.fixture
def up(files):
    one = Up(files, "--workers", "1", "--cores", "2")
    yield one
    one.end()


def named(processes, what):
    return [p for p in processes if any(what in part for part in p.cmdline())]


def test_by_hand_register_query_status_and_a_plain_producer_then_everything_restarts_by_itself(up, files):
    registered = up.infaas(
        "register", "linear", "--application", "points", "--model", str(files / "model.onnx"),
        "--validation-set", str(files / "validation.npz"), "--max-batch", "4", "--wait",
    )  # fmt: skip
    assert "linear.v1.onnxruntime-cpu1-fp32" in registered.stdout
    asked = ("query", "--application", "points", "--input", "x=[[1.0, 2, 3, 4]]", "--latency-ms", "30000")
    answered = orjson.loads(up.infaas(*asked, "--json").stdout)
    assert answered["outcome"] == "ok"
    assert np.array(answered["outputs"]["scores"]).shape == (1, 3)
    refused = up.infaas(*asked, "--min-accuracy", "1", "--max-cost", "0", check=False)
    assert refused.returncode == 1
    assert "rejected (cost)" in refused.stdout
    wrong = up.infaas("query", "--application", "points", "--input", "x=[[1.0]]", check=False)
    assert "bad_tensor" in wrong.stdout
    status = up.infaas("status").stdout
    for word in ("scaler: leads", "registrar: leads", "worker-1", "points", "linear"):
        assert word in status
    assert up.infaas("topics", "check").returncode == 0
    assert up.infaas("doctor").returncode == 0
    assert "linear" in up.infaas("variants", "--json").stdout
    plain_producer(up)
    for module in ("infaas.router", "infaas.workers", "infaas.scaler", "infaas.registrar"):
        (victim,) = [p for p in named(family(up.process.pid), module) if p.cmdline()[-1] == module]
        victim.kill()
        again = up.infaas(*asked, "--json", "--timeout", "60")
        assert orjson.loads(again.stdout)["outcome"] == "ok", module
    assert up.infaas("unregister", "linear").returncode == 0
    gone = up.infaas(*asked, check=False)
    assert "unknown_application" in gone.stdout


def plain_producer(up):
    """What kcat or any Kafka client can do: headers, or everything in the body."""
    outbox, replies = Outbox(up.settings, client_id="plain"), ReplyReader(up.settings, client_id="plain")
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    cases = {
        b"headers": ({"inputs": [tensor]}, [("infaas-application", b"points"), ("infaas-latency-ms", b"30000")]),
        b"body": ({"parameters": {"application": "points", "latency_ms": 30000}, "inputs": [tensor]}, []),
    }
    for tag, (body, headers) in cases.items():
        more = [*headers, ("correlation-id", tag), *replies.address_headers()]
        outbox.send_and_wait(up.settings.names.prefix + "queries", value=orjson.dumps(body), headers=more)
    seen, deadline = {}, time.monotonic() + 60
    while len(seen) < 2 and time.monotonic() < deadline:
        for record in replies.poll(0.1):
            seen[record.header_map["correlation-id"]] = record.header_map["infaas-outcome"]
    assert seen == dict.fromkeys(cases, b"ok")
    replies.close()
    outbox.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_it_leaves_no_process_behind(files, how):
    one = Up(files)
    there = family(one.process.pid)
    broker = psutil.Process(int(one.infaas("broker", "status").stdout.split("process")[1].split()[0]))
    assert len(there) >= 5
    one.process.send_signal(how)
    one.process.wait(60)
    assert left_of([*there, broker]) == []


def test_data_survives_a_restart(files):
    first = Up(files)
    try:
        with Client(first.settings, repository_url=first.environment["INFAAS_REPOSITORY_URL"]) as client:
            found = client.register(
                "linear", application="points", model=classifier(), validation_set=VALIDATION, max_batch=2, cores=(1,),
                generators=("onnx",),
            )  # fmt: skip
            list(follow(first.settings, "linear", found.version, timeout=90))
    finally:
        first.end()
    second = Up(files)
    try:
        with Client(second.settings) as client:
            x = np.ones((1, 4), np.float32)
            assert client.infer("points", {"x": x}, latency_ms=60_000).variant == "linear.v1.onnxruntime-cpu1-fp32"
    finally:
        second.end()
