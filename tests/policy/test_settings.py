"""What a user sets of librdkafka wins over ours, but for what safety rests on."""

import logging

import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from infaas.bus.control import _broker
from infaas.bus.settings import SAFETY, BusSettings
from infaas.schemas.errors import ConfigurationError

CLIENTS = {
    "producer": lambda s: s.producer("c"),
    "consumer": lambda s: s.consumer("c", "g", reset="error", wait_ms=50),
    "group member": lambda s: s.group_member("c", "g"),
    "admin": lambda s: s.common("c"),
}
OVERRIDES = {
    "producer": {
        "linger.ms": "7",
        "message.timeout.ms": "9000",
        "retry.backoff.ms": "50",
        "message.max.bytes": "2000000",
        "queue.buffering.max.messages": "10",
        "queue.buffering.max.kbytes": "1024",
    },
    "consumer": {
        "fetch.wait.max.ms": "100",
        "fetch.queue.backoff.ms": "5",
        "queued.max.messages.kbytes": "1024",
        "check.crcs": "true",
    },
    "group member": {"session.timeout.ms": "45000", "heartbeat.interval.ms": "3000", "max.poll.interval.ms": "300000"},
    "admin": {"reconnect.backoff.ms": "100", "log_level": "6", "security.protocol": "plaintext"},
}
CASES = [(client, name, value) for client, chosen in OVERRIDES.items() for name, value in chosen.items()]


@pytest.mark.parametrize(("client", "name", "value"), CASES)
def test_what_is_given_wins(client, name, value):
    assert CLIENTS[client](BusSettings(kafka={name: value}))[name] == value


def test_what_is_given_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("INFAAS_KAFKA__LINGER_MS", "7")
    monkeypatch.setenv("INFAAS_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("INFAAS_KAFKA__LOG_LEVEL", "6")
    found = BusSettings().producer("c")
    assert (found["linger.ms"], found["security.protocol"], found["log_level"]) == ("7", "SASL_SSL", "6")


@pytest.mark.parametrize("name", SAFETY)
def test_what_safety_rests_on_is_refused_by_name(name, monkeypatch):
    with pytest.raises(ConfigurationError, match=name):
        BusSettings(kafka={name: "0"})
    with pytest.raises(ConfigurationError, match=name):
        BusSettings().model_copy(update={"kafka": {name: "0"}}).common("c")
    monkeypatch.setenv("INFAAS_KAFKA__" + name.upper().replace(".", "_"), "0")
    with pytest.raises(ConfigurationError, match=name):
        BusSettings()


@pytest.mark.parametrize("client", CLIENTS)
def test_every_setting_that_safety_rests_on_and_that_is_ours_is_refused(client):
    ours = {"enable.idempotence", "acks", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"}
    ours |= {"partition.assignment.strategy", "group.id", "max.in.flight.requests.per.connection", "bootstrap.servers"}
    assert ours & set(CLIENTS[client](BusSettings())) <= set(SAFETY)


@pytest.mark.parametrize(
    ("client", "kind"), [("producer", Producer), ("consumer", Consumer), ("group member", Consumer)]
)
def test_librdkafka_knows_every_name_and_takes_every_value(client, kind):
    """librdkafka refuses what it does not know or take when a client is made."""
    given = {name: value for chosen in OVERRIDES.values() for name, value in chosen.items()}
    config, quiet = CLIENTS[client](BusSettings(kafka=given)), logging.getLogger("quiet")
    assert given.items() <= config.items()
    kind(config, logger=quiet).close()
    with pytest.raises(KafkaException, match="No such configuration property"):
        kind(config | {"linger.msec": "7"}, logger=quiet)
    with pytest.raises(KafkaException, match="Invalid value"):
        kind(config | {"retry.backoff.ms": "soon"}, logger=quiet)


def test_the_commands_clients_get_what_is_given_as_well():
    broker = _broker(BusSettings(kafka={"socket.timeout.ms": "1234", "log_level": "6"}), "c")
    config = broker.config.broker_config.connection_config.consumer_config
    assert config["socket.timeout.ms"] == "1234"
    assert config["log_level"] == "6"
