"""The embedded broker: keeps its data, shares nothing, leaves nothing."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource
from processes import start

from infaas.bus.admin import Admin
from infaas.bus.embedded import EmbeddedBroker, broker, identity, jars, ports
from infaas.bus.embedded.configuration import Listener
from infaas.bus.embedded.state import BrokerState
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import EmbeddedBrokerError
from infaas.schemas.metadata import Verdict, encode
from infaas.schemas.topics import METADATA
from infaas.store.table import Table


def until(true, what, timeout=30.0):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.02)


def test_two_at_once_and_data_survives_stop_and_kill(tmp_path):
    with EmbeddedBroker.start(data_dir=tmp_path / "a", quick=True) as one, EmbeddedBroker.start(quick=True) as two:
        assert one.port != two.port
        with pytest.raises(EmbeddedBrokerError, match="in use"):
            EmbeddedBroker.start(data_dir=tmp_path / "a", quick=True)
        settings = BusSettings(bootstrap_servers=one.bootstrap_servers)
        admin = Admin(settings, client_id="t")
        admin.ensure_topics()
        outbox = Outbox(settings, client_id="t")
        record = Verdict(worker="w", boot_id="b")
        outbox.send_and_wait(settings.names.of(METADATA), key=record.key, value=encode(record))
        port = one.port
        one.restart()
        assert one.port == port
        one.kill()
        one.restart()
        assert one.port == port
        table = Table(settings, client_id="t")
        table.open()
        assert table.view().verdicts["w"] == record
        table.close()
        outbox.close()
        admin.close()
        folder = two.data_dir
    assert not folder.exists()
    assert (tmp_path / "a" / "data").exists()


def test_clients_of_a_further_listener_are_sent_back_where_they_came_in_and_settings_win():
    inner, outer = ports.free_ports(2)
    way = Listener(name="LINK1", port=inner, advertised_port=outer)
    with EmbeddedBroker.start(quick=True, listeners=[way], settings={"num.io.threads": "3"}) as one:
        for port, advertised in ((one.port, one.port), (inner, outer)):
            assert told_by(port) == advertised
        asked = ConfigResource(ConfigResource.Type.BROKER, "1")
        direct = AdminClient({"bootstrap.servers": one.bootstrap_servers})
        (answer,) = direct.describe_configs([asked]).values()
        assert answer.result(20)["num.io.threads"].value == "3"


def told_by(port, timeout=30.0):
    """The port that a listener sends its clients to, where nobody may be: then a client at times fails before it has said so."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            (node,) = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"}).list_topics(timeout=10).brokers.values()
        except KafkaException:
            assert time.monotonic() < deadline
        else:
            return node.port


def test_killed_owner_leaves_no_broker(tmp_path):
    code = (
        "from infaas.bus.embedded import EmbeddedBroker\nfrom pathlib import Path\nimport sys, time\n"
        "b = EmbeddedBroker.start(data_dir=Path(sys.argv[1]), quick=True)\nprint(b.pid, flush=True)\ntime.sleep(600)\n"
    )
    owner = start([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    java = int(owner.stdout.readline())
    watcher = psutil.Process(java).ppid()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until(lambda: not psutil.pid_exists(java) and not psutil.pid_exists(watcher), "the broker to end")


def test_killed_watcher_leaves_no_broker(tmp_path):
    with EmbeddedBroker.start(data_dir=tmp_path, quick=True) as one:
        java = one.pid
        psutil.Process(java).parent().send_signal(signal.SIGKILL)
        until(lambda: not psutil.pid_exists(java), "the broker to end")


def test_detached_broker_is_found_and_stopped(tmp_path):
    one = EmbeddedBroker.start(data_dir=tmp_path, quick=True, detached=True)
    state = BrokerState.read(tmp_path)
    assert state is not None
    assert (state.java, state.port) == (one.pid, one.port)
    state.stop()
    until(lambda: not psutil.pid_exists(one.pid), "the broker to end")
    assert BrokerState.read(tmp_path) is None
    one.stop()


def test_another_kafka_on_the_port_is_never_taken_for_ours(tmp_path, monkeypatch):
    """Neither where its port was seen to be taken, nor where it was taken between the look and the start."""
    with EmbeddedBroker.start(data_dir=tmp_path / "theirs", quick=True) as theirs:
        cluster = identity.formatted_cluster(tmp_path / "theirs")
        said = rf"port {theirs.port} .*process {theirs.pid}, java, .*cluster id {cluster}.*--port.*INFAAS_BOOTSTRAP_SERVERS"
        with pytest.raises(EmbeddedBrokerError, match=said) as refused:
            EmbeddedBroker.start(data_dir=tmp_path / "a", port=theirs.port, quick=True)
        assert "\n" not in str(refused.value)
        looked = broker.obstacle
        monkeypatch.setattr(broker, "obstacle", lambda port: monkeypatch.setattr(broker, "obstacle", looked))
        with pytest.raises(EmbeddedBrokerError, match=said):
            EmbeddedBroker.start(data_dir=tmp_path / "b", port=theirs.port, quick=True)
        assert BrokerState.read(tmp_path / "b") is None
        with EmbeddedBroker.start(data_dir=tmp_path / "b", quick=True) as ours:
            assert ours.port != theirs.port


def test_a_port_that_something_else_has_is_said_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedBrokerError, match=f"port {port} .*no Kafka that answers") as refused:
            EmbeddedBroker.start(data_dir=tmp_path, port=port, quick=True)
    assert "\n" not in str(refused.value)


def test_process_ids_that_are_somebody_elses_now_are_no_broker(tmp_path):
    child = psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ours = {"watcher": psutil.Process().pid, "java": child.pid, "port": 9092}
        (tmp_path / "broker.json").write_text(json.dumps(ours))
        assert BrokerState.read(tmp_path) is None
    finally:
        child.kill()
        child.communicate()


def test_corrupt_jar_is_never_used(tmp_path, monkeypatch):
    real = jars.ensure(jars.cache_dir())
    mine = tmp_path / real.name
    mine.mkdir()
    for path in real.glob("*.jar"):
        (mine / path.name).hardlink_to(path)
    victim = mine / jars.lock()[0].filename
    victim.unlink()
    victim.write_bytes(b"not a jar")

    def fetch(jar, repository):
        repository.mkdir(parents=True)
        return shutil.copy(victim, repository / "wrong.jar") and repository / "wrong.jar"

    monkeypatch.setattr(jars, "_resolve", fetch)
    with pytest.raises(EmbeddedBrokerError, match="checksum"):
        jars.ensure(tmp_path)
    assert not (mine / ".verified").exists()


def test_without_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(jars, "lock", lambda: [jars.Jar("org.slf4j", "slf4j-api", "1.7.36", "0" * 64)])
    with pytest.raises(EmbeddedBrokerError, match="INFAAS_BOOTSTRAP_SERVERS"):
        jars.ensure(tmp_path)
