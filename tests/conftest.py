"""One real Kafka for the whole run, a topic prefix for each test; nothing is left behind."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from infaas.bus.admin import Admin
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.settings import BusSettings


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Bootstrap servers: those of INFAAS_BOOTSTRAP_SERVERS, else of an embedded broker started for this run."""
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
    found = BusSettings(bootstrap_servers=bootstrap, topic_prefix=prefix, session_timeout_ms=1000)
    admin = Admin(found, client_id="test")
    admin.ensure_topics()
    try:
        yield found
    finally:
        admin.delete_topics(admin.topics())
        admin.close()
