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

from infaas.bus.embedded.ports import free_ports
from infaas.bus.outbox import Outbox
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.settings import BusSettings

READY_S = 90.0
ASK = ("query", "--application", "points", "--input", "x=[[1.0, 2, 3, 4]]", "--latency-ms", "30000")


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

    def leave(self, how):
        """Ends it as a user might; nothing of it stays."""
        there = family(self.process.pid)
        broker = psutil.Process(int(self.infaas("broker", "status").stdout.split("process")[1].split()[0]))
        assert len(there) >= 5
        self.process.send_signal(how)
        self.process.wait(60)
        assert left_of([*there, broker]) == []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

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


def named(processes, what):
    return [p for p in processes if any(what in part for part in p.cmdline())]


def test_by_hand_from_the_first_registration_to_the_second_start(files):
    """One user's day: register, query, things that die, Ctrl-C, the same folder again with what was in it, and `kill -9`."""
    (port,) = free_ports(1)
    with Up(files, "--workers", "1", "--cores", "2", "--port", str(port)) as up:
        says_where_it_is(up, port)
        register_and_query(up, files)
        look_around(up)
        plain_producer(up)
        a_second_cell_of_the_folder_is_refused(up)
        what_dies_is_started_again(up)
        up.leave(signal.SIGINT)
    with Up(files) as up:
        says_where_it_is(up, port)  # its last one
        assert "linear.v1.onnxruntime-cpu1-fp32" in up.infaas("variants", "--json").stdout
        assert orjson.loads(up.infaas(*ASK, "--json", "--timeout", "60").stdout)["outcome"] == "ok"
        assert up.infaas("unregister", "linear").returncode == 0
        assert "unknown_application" in up.infaas(*ASK, check=False).stdout
        up.leave(signal.SIGKILL)


def says_where_it_is(up, port):
    assert f"export INFAAS_BOOTSTRAP_SERVERS=127.0.0.1:{port}" in up.log.read_text()
    assert up.infaas("broker", "status").stdout.startswith(f"127.0.0.1:{port} ")


def register_and_query(up, files):
    registered = up.infaas(
        "register", "linear", "--application", "points", "--model", str(files / "model.onnx"),
        "--validation-set", str(files / "validation.npz"), "--max-batch", "4", "--cores", "1", "--generator", "onnx", "--wait",
    )  # fmt: skip
    assert "linear.v1.onnxruntime-cpu1-fp32" in registered.stdout
    answered = orjson.loads(up.infaas(*ASK, "--json").stdout)
    assert answered["outcome"] == "ok"
    assert np.array(answered["outputs"]["scores"]).shape == (1, 3)
    refused = up.infaas(*ASK, "--min-accuracy", "1", "--max-cost", "0", check=False)
    assert refused.returncode == 1
    assert "rejected (cost)" in refused.stdout
    wrong = up.infaas("query", "--application", "points", "--input", "x=[[1.0]]", check=False)
    assert "bad_tensor" in wrong.stdout


def look_around(up):
    status = up.infaas("status").stdout
    for word in ("scaler: leads", "registrar: leads", "worker-1", "points", "linear"):
        assert word in status
    assert up.infaas("topics", "check").returncode == 0
    assert up.infaas("doctor").returncode == 0
    assert "linear" in up.infaas("variants", "--json").stdout


def a_second_cell_of_the_folder_is_refused(up):
    second = up.infaas("up", check=False)
    assert second.returncode == 1
    assert "a broker runs in" in second.stderr
    assert "infaas broker status" in second.stderr


def what_dies_is_started_again(up):
    for module in ("infaas.router", "infaas.workers", "infaas.scaler", "infaas.registrar"):
        (victim,) = [p for p in named(family(up.process.pid), module) if p.cmdline()[-1] == module]
        victim.kill()
        again = up.infaas(*ASK, "--json", "--timeout", "60")
        assert orjson.loads(again.stdout)["outcome"] == "ok", module


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
