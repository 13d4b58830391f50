"""One real Kafka for each process of the run, a topic prefix for each test; nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infaas.bus.admin import Admin
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.settings import BusSettings

REPLY_PARTITIONS = 8
"""A cell is made for each test: 64 take half a second of a core, and no test needs them."""
HASTY_MS = 1_000
sys.path.insert(0, str(Path(__file__).parent / "support"))


def pytest_configure(config: pytest.Config) -> None:
    """An interrupted run leaves nothing behind either."""
    from interruption import Interruption

    config.pluginmanager.register(Interruption())


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Bootstrap servers: those of INFAAS_BOOTSTRAP_SERVERS, else of an embedded broker started for this process of the run."""
    given = os.environ.get("INFAAS_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    with EmbeddedBroker.start(quick=True) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def prefix() -> str:
    """A topic prefix of this test's own."""
    return f"t-{uuid.uuid4().hex[:8]}."


@pytest.fixture
def settings(bootstrap: str, prefix: str) -> Iterator[BusSettings]:
    """Bus settings for a fresh cell with all its topics; they are deleted afterwards."""
    yield from _cell(bootstrap, prefix)


def _cell(bootstrap: str, prefix: str) -> Iterator[BusSettings]:
    settings = BusSettings(
        bootstrap_servers=bootstrap, topic_prefix=prefix, session_timeout_ms=1000, reply_partitions=REPLY_PARTITIONS
    )
    admin = Admin(settings, client_id="test")
    admin.ensure_topics()
    try:
        yield settings
    finally:
        # Asked anew: what a test has done to its broker need not be over for a client that lived through it.
        admin.close()
        last = Admin(settings, client_id="test")
        last.delete_topics(last.topics())
        last.close()


@pytest.fixture(scope="session")
def second_broker() -> Iterator[EmbeddedBroker]:
    """A broker beside the one of `bootstrap`, started for the first test that needs it."""
    with EmbeddedBroker.start(quick=True) as broker:
        yield broker


@pytest.fixture
def broker(second_broker: EmbeddedBroker) -> Iterator[EmbeddedBroker]:
    """A broker that a test may kill, freeze and start again; it is well before the next one."""
    yield second_broker
    if psutil.pid_exists(second_broker.pid):
        os.kill(second_broker.pid, signal.SIGCONT)
    else:
        second_broker.restart()


@pytest.fixture
def hurt(broker: EmbeddedBroker, prefix: str) -> Iterator[BusSettings]:
    """Bus settings for a fresh cell on `broker`, with all its topics; they are deleted afterwards."""
    yield from _cell(broker.bootstrap_servers, prefix)


@pytest.fixture
def hasty(hurt: BusSettings) -> BusSettings:
    """As `hurt`, but what can't be delivered is reported after one second, and not after five: so much less is waited for."""
    return hurt.model_copy(update={"kafka": {"message.timeout.ms": str(HASTY_MS)}})


@pytest.fixture
def environment(settings: BusSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What services started by a test read from the environment; returns the repository's folder."""
    monkeypatch.setenv("INFAAS_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("INFAAS_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("INFAAS_SESSION_TIMEOUT_MS", "1000")
    monkeypatch.setenv("INFAAS_REPLY_PARTITIONS", str(REPLY_PARTITIONS))
    monkeypatch.setenv("INFAAS_REPOSITORY_URL", (tmp_path / "repository").as_uri())
    monkeypatch.setenv("INFAAS_WORKER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "repository"
