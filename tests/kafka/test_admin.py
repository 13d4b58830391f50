"""What a cluster refuses is told in our errors, whichever question it was."""

import os
import signal
import time

import pytest
from processes import freeze

from infaas.bus.admin import Admin
from infaas.schemas.errors import ConfigurationError, UnknownTopic
from infaas.schemas.topics import QUERIES, RETURNS, ROUTER_GROUP, TELEMETRY


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


def test_how_many_partitions_routers_share_is_chosen_when_a_cell_is_made(settings):
    prefix = f"{settings.topic_prefix}narrow."
    one = Admin(settings.model_copy(update={"topic_prefix": prefix, "query_partitions": 2}), client_id="narrow")
    one.ensure_topics()
    assert [one.partitions(prefix + topic.name) for topic in (QUERIES, RETURNS)] == [2, 2]
    other = Admin(settings.model_copy(update={"topic_prefix": prefix}), client_id="other")
    assert other.check_topics() == [], "who did not make it has nothing to say"
    for admin in (one, other):
        admin.close()


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


def test_a_partition_without_a_leader_is_waited_for_and_not_left_out(broker, hurt):
    """A broker that stood still is fenced, and leads nothing for a moment after it has come to."""
    admin = Admin(hurt, client_id="t")
    topics = admin.topics()
    places = {(topic, p) for topic, count in topics.items() for p in range(count)}
    assert set(admin.watermarks(topics)) == places
    freeze(broker.pid)
    try:
        time.sleep(5)  # its session is 3 s
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert set(admin.watermarks(topics)) == places
        assert all(admin.partitions(topic) == count for topic, count in topics.items())
    assert admin.watermarks({"infaas.no-such-topic": 2}) == {}
    assert set(admin.watermarks({**topics, "infaas.no-such-topic": 2})) == places
    admin.close()


def test_groups_are_asked_about_after_a_restart_by_who_asked_before_it(broker, hurt):
    """librdkafka remembers a coordinator that it has dropped, and waits for it."""
    admin, queries = Admin(hurt, client_id="t"), hurt.names.of(QUERIES)
    admin.commit_work({(queries, 0): 0})
    for restarted in (False, True):
        if restarted:
            broker.kill()
            broker.restart()
        assert len(admin.watermarks({queries: 8})) == 8
        assert admin.committed({queries: 8})[queries, 0].offset == 0
        assert admin.group_members(hurt.names.group(ROUTER_GROUP)) == set()
    admin.close()
