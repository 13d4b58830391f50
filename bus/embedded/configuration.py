"""The files a one-node Kafka is started with, each setting with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NODE_ID = 1
PLAIN, CONTROLLER = "PLAINTEXT", "CONTROLLER"
FIXED: Mapping[str, object] = {
    # A typing error must not make a topic.
    "auto.create.topics.enable": "false",
    # One node can hold no second copy; four partitions are enough for the groups of one machine.
    "offsets.topic.num.partitions": 4,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # After a crash the node waits until its own former session has run out; 9 s, the default, is for a cluster.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    # A record that says nothing, twice a second by default, is for brokers that might have missed one.
    "metadata.max.idle.interval.ms": 5000,
    # Members come one by one on one machine: nobody to wait for.
    "group.initial.rebalance.delay.ms": 0,
    # A killed router's partitions move within a second.
    "group.min.session.timeout.ms": 500,
    # Two cores are the machine this is meant for.
    "num.io.threads": 2,
    "num.network.threads": 2,
    "num.recovery.threads.per.data.dir": 2,
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
    "delete.topic.enable": "true",
}
"""What is alike wherever a broker runs."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One more way to the broker, for clients that come to it through something else."""

    name: str
    """Capital letters and digits."""
    port: int
    """Where the broker listens."""
    advertised_port: int
    """Where it sends clients that came here."""


def server_properties(
    *,
    data_dir: Path,
    port: int,
    controller_port: int,
    max_message_bytes: int,
    listeners: Sequence[Listener] = (),
    more: Mapping[str, str] | None = None,
) -> str:
    """KRaft in combined mode, on the loopback interface alone.

    Args:
        data_dir: the broker's folder.
        port: for clients.
        controller_port: for itself.
        max_message_bytes: largest record of any topic.
        listeners: more of them.
        more: further settings of Kafka's; they win.
    """
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "listeners": _addresses({PLAIN: port, CONTROLLER: controller_port} | {one.name: one.port for one in listeners}),
        "advertised.listeners": _addresses({PLAIN: port} | {one.name: one.advertised_port for one in listeners}),
        "controller.listener.names": CONTROLLER,
        "inter.broker.listener.name": PLAIN,
        "listener.security.protocol.map": ",".join(
            f"{name}:{PLAIN}" for name in (PLAIN, CONTROLLER, *(one.name for one in listeners))
        ),
        "log.dirs": data_dir / "data",
        **FIXED,
        "message.max.bytes": max_message_bytes,
        "replica.fetch.max.bytes": max_message_bytes,
    }
    return "".join(f"{key}={value}\n" for key, value in (settings | dict(more or {})).items())


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def log_properties(data_dir: Path) -> str:
    """The broker's own log goes to a file in its folder and is bounded."""
    return f"""status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {data_dir}/broker.log
appender.file.filePattern = {data_dir}/broker.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""
