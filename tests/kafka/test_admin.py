"""What a cluster refuses is told in our errors, whichever question it was."""

import time

import pytest

from infaas.bus.admin import Admin
from infaas.schemas.errors import ConfigurationError, UnknownTopic
from infaas.schemas.topics import QUERIES, TELEMETRY


@pytest.fixture
def admin(settings):
    one = Admin(settings, client_id="t")
    yield one
    one.close()


def test_settings_that_differ_are_told_and_repaired(settings, admin):
    assert admin.check_topics() == []
    wider = Admin(settings.model_copy(update={"queries_retention_bytes": 10**9}), client_id="wider")
    (line,) = wider.check_topics()
    assert line == f"{settings.names.of(QUERIES)}: retention.bytes is -1, {10**9} wanted"
    wider.repair_topics()
    deadline = time.monotonic() + 10  # a broker answers with what it has heard of so far
    while wider.check_topics():
        assert time.monotonic() < deadline
    wider.close()


def test_a_setting_that_the_broker_refuses_is_told_as_such(settings):
    wrong = Admin(settings.model_copy(update={"max_query_bytes": -1}), client_id="wrong")
    with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
        wrong.repair_topics()
    wrong.close()


def test_a_topic_that_goes_while_it_is_checked_is_told_as_such(settings, admin, monkeypatch):
    listed, other = admin._list, Admin(settings, client_id="other")

    def listed_and_then_deleted():
        names = listed()
        other.delete_topics([settings.names.of(TELEMETRY)])
        return names

    monkeypatch.setattr(admin, "_list", listed_and_then_deleted)
    with pytest.raises(UnknownTopic, match="settings of topics"):
        admin.check_topics()
    other.close()
