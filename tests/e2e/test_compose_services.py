"""The services as docker-compose.yml starts them: its commands, its environment, each a process of its own, on a real Kafka."""

import os
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import yaml
from models import VALIDATION, classifier
from processes import family, left_of, start

from infaas.bus.settings import BusSettings
from infaas.client import Client, follow

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())["services"]
SERVICES = ("registrar", "scaler", "router", "worker")
READY_S = 90.0


@pytest.fixture
def started(bootstrap, tmp_path):
    """Everything but Kafka, which is the embedded one, under a prefix of this test's own; returns how to reach it."""
    prefix = f"t-{uuid.uuid4().hex[:8]}."
    outside = {name: value for name, value in os.environ.items() if not name.startswith("INFAAS_")}
    of_machine = {  # what in the composition is a container's: its Kafka's address, its folders, its host name
        "INFAAS_BOOTSTRAP_SERVERS": bootstrap,
        "INFAAS_REPOSITORY_URL": (tmp_path / "repository").as_uri(),
        "INFAAS_WORKER_CACHE_DIR": str(tmp_path / "cache"),
        "INFAAS_TOPIC_PREFIX": prefix,
    }
    processes = []

    def begin(name):
        with (tmp_path / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "infaas.cli.main", *COMPOSE[name]["command"]]
            environment = {**outside, **COMPOSE[name]["environment"], **of_machine}
            return start(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    assert begin("topics").wait(60) == 0, (tmp_path / "topics.log").read_text()
    processes += [begin(name) for name in SERVICES]
    yield (
        BusSettings(bootstrap_servers=bootstrap, topic_prefix=prefix), of_machine["INFAAS_REPOSITORY_URL"],
        dict(zip(SERVICES, processes, strict=True)),
    )  # fmt: skip
    everybody = [process for one in processes for process in family(one.pid)]
    for one in processes:
        one.terminate()
    for one in processes:
        one.wait(40)
    assert left_of(everybody) == []


def test_a_model_is_registered_and_a_query_answered_and_all_end_when_told(started):
    settings, repository, processes = started
    with Client(settings, repository_url=repository) as client:
        registered = client.register(
            "linear", application="points", model=classifier(), validation_set=VALIDATION, max_batch=2, cores=(1,),
            generators=("onnx",),
        )  # fmt: skip
        list(follow(settings, "linear", registered.version, timeout=READY_S))
        reply = client.infer("points", {"x": np.ones((1, 4), np.float32)}, latency_ms=60_000)
        assert reply.variant == "linear.v1.onnxruntime-cpu1-fp32"
    assert {name: process.poll() for name, process in processes.items()} == dict.fromkeys(SERVICES)
