"""The files a one-node Kafka is started with, each setting with its reason."""

from __future__ import annotations

from pathlib import Path

NODE_ID = 1


def server_properties(*, data_dir: Path, port: int, controller_port: int, max_message_bytes: int) -> str:
    """KRaft in combined mode, on the loopback interface alone."""
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data_dir / "data",
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
        "broker.session.timeout.ms": 1500,
        "broker.heartbeat.interval.ms": 300,
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
        "message.max.bytes": max_message_bytes,
        "replica.fetch.max.bytes": max_message_bytes,
        "delete.topic.enable": "true",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


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
