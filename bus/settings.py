"""Settings of the Kafka clients, each with its reason beside it.

The defaults of librdkafka are made for throughput and for patience; the latency path needs others. What stands here was
measured on Kafka 4.3.1 (docs/decisions/0002-kafka-settings.md). What a user gives wins over it, but for the few settings on
which nothing being lost rests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infaas.schemas.errors import ConfigurationError
from infaas.schemas.topics import QUERIES, REPLIES, TopicNames

BATCH_BYTES = 1_000_000
MIB = 1024 * 1024
DELIVERY_TIMEOUT_MS = 5_000  # a query that can't be delivered in this time is selected again

SAFETY: Mapping[str, str] = {
    "enable.idempotence": "a retry would double or reorder records",
    "acks": "a confirmed record has to be on all in-sync replicas",
    "request.required.acks": "a confirmed record has to be on all in-sync replicas",
    "max.in.flight.requests.per.connection": "it makes linger 0 batch by itself, and keeps the order",
    "max.in.flight": "it makes linger 0 batch by itself, and keeps the order",
    "delivery.report.only.error": "what is not reported as delivered is never committed",
    "transactional.id": "producers send outside of transactions",
    "enable.auto.commit": "a commit says that the replies are confirmed",
    "enable.auto.offset.store": "a commit says that the replies are confirmed",
    "auto.offset.reset": "a position that is not there is an event, never a jump",
    "partition.assignment.strategy": "partitions are handed over one by one",
    "group.protocol": "partitions are handed over one by one",
    "group.id": "the prefix names the groups: INFAAS_TOPIC_PREFIX",
    "group.instance.id": "a process that starts again must not pass for the one before",
    "isolation.level": "what a transaction takes back was never asked",
    "bootstrap.servers": "it has a setting of its own: INFAAS_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "it has a setting of its own: INFAAS_BOOTSTRAP_SERVERS",
}
"""Settings that can't be given, each with its reason."""
UNDERSCORED = {"log.level": "log_level"}  # the one name of librdkafka's that has an underscore and takes text


class BusSettings(BaseSettings):
    """Where the cell's Kafka is, and how to talk to it; read once, in the composition root."""

    model_config = SettingsConfigDict(env_prefix="INFAAS_", env_nested_delimiter="__", frozen=True, extra="ignore")

    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers to ask first, `host:port,...`."""
    topic_prefix: str = "infaas."
    """Before every topic's and group's name: one prefix a cell."""
    max_query_bytes: int = Field(default=8 * MIB, ge=64 * 1024)
    """Largest record on `queries`; above it the client uses a claim check."""
    queries_retention_bytes: int = -1
    """Size limit of the query log a partition; -1 = none (time alone)."""
    query_partitions: int = Field(default=QUERIES.partitions, ge=1)
    """Of the topic `queries` when it is made: no more routers can share it. Each costs every fetch of a router a little."""
    reply_partitions: int = Field(default=REPLIES.partitions, ge=1)
    """Of the topic `replies` when it is made. Many clients want many; as many as `queries` has lets streams join the two by key."""
    session_timeout_ms: int = Field(default=6_000, ge=100)
    """Of the consumer groups. A stock broker refuses less than 6 s; the embedded one takes 1 s."""
    max_payload_bytes: int = Field(default=256 * MIB, ge=64 * 1024)
    """Largest value fetched for a claim check: it is held in an instance's memory."""
    payload_url: str | None = None
    """Where values above the limit are put (fsspec URL); None = under the repository."""
    payload_days: int = Field(default=8, ge=1)
    """How many days such a value is kept: as long as the query log, from which it may be asked again, and a day for what waits."""
    payload_fetch_ms: float = Field(default=30_000.0, gt=0)
    """How long an instance may take to fetch such a value; after that it is taken for hung."""
    kafka: Mapping[str, str] = Field(default_factory=dict)
    """Anything of librdkafka, on all clients: INFAAS_KAFKA__SECURITY_PROTOCOL=SASL_SSL sets `security.protocol`."""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        _ = self.given
        return self

    @property
    def given(self) -> dict[str, str]:
        """What the user sets of librdkafka, by its name there: it wins over ours.

        Raises:
            ConfigurationError: naming a setting that safety rests on, and why.
        """
        dotted = {key.lower().replace("_", "."): value for key, value in self.kafka.items()}
        for key in dotted:
            if key in SAFETY:
                raise ConfigurationError(f"the Kafka setting {key} can't be changed: {SAFETY[key]}")
        return {UNDERSCORED.get(key, key): value for key, value in dotted.items()}

    @property
    def names(self) -> TopicNames:
        """Full names of topics and groups."""
        return TopicNames(self.topic_prefix)

    def common(self, client_id: str) -> dict[str, Any]:
        """What every client gets."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": client_id,
            "allow.auto.create.topics": False,  # a typing error must not make a topic
            # A broker that restarts is found again soon; below this each consumer asks 80 times a second while it is away, and
            # a cell's thirty clients take the core that the broker needs to come back.
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 500,
            "socket.nagle.disable": True,
            "log_level": 2,  # a broker that is away is heard of as errors of calls, not in a line every 12 ms
            "topic.metadata.refresh.interval.ms": 30_000,
            **self.given,
        }

    def producer(self, client_id: str) -> dict[str, Any]:
        """The latency path's producer."""
        return {
            **self.common(client_id),
            "enable.idempotence": True,  # retries neither double nor reorder
            "acks": "all",
            "partitioner": "murmur2_random",  # Java's: who joins by key finds like keys in like partitions
            "linger.ms": 0,  # 5 ms, the default, is paid on every leg
            # One request in flight makes linger 0 batch by itself: what gathers meanwhile goes in the next request.
            "max.in.flight.requests.per.connection": 1,
            "message.timeout.ms": DELIVERY_TIMEOUT_MS,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 200,
            "message.max.bytes": self.max_query_bytes + MIB,
            # A topic's limit counts for what is sent as one: many small records that go together must not exceed it.
            "batch.size": min(BATCH_BYTES, self.max_query_bytes),
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 64 * 1024,  # bounded: a full queue pauses intake instead of eating memory
            **self.given,
        }

    def consumer(self, client_id: str, group: str, *, reset: str, wait_ms: int) -> dict[str, Any]:
        """What every consumer gets; `reset` is what happens at a position that is not there."""
        return {
            **self.common(client_id),
            "group.id": group,
            "enable.auto.commit": False,  # a commit says that the replies are confirmed; nobody else may say it
            "enable.auto.offset.store": False,
            "auto.offset.reset": reset,
            "fetch.queue.backoff.ms": 1,  # the default of 1,000 stalls a consumer whose queue was full
            "fetch.error.backoff.ms": 20,
            "fetch.wait.max.ms": wait_ms,  # data ends the wait at once; it delays only newly added partitions
            "fetch.message.max.bytes": self.max_query_bytes + MIB,
            "fetch.max.bytes": self.max_query_bytes + 2 * MIB,
            "receive.message.max.bytes": self.max_query_bytes + 4 * MIB,
            "queued.max.messages.kbytes": 8 * 1024,  # bounded memory; what is not fetched stays on the broker
            "check.crcs": False,  # one trust zone, TCP has sums of its own
            "enable.partition.eof": False,
            **self.given,
        }

    def group_member(self, client_id: str, group: str) -> dict[str, Any]:
        """A member of a classic consumer group with cooperative assignment."""
        return {
            **self.consumer(client_id, group, reset="earliest", wait_ms=50),
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": self.session_timeout_ms,
            # By its answer a member hears that others come and go: meanwhile nobody has the partitions that move.
            "heartbeat.interval.ms": max(30, min(100, self.session_timeout_ms // 10)),
            "max.poll.interval.ms": max(60_000, self.session_timeout_ms),
            **self.given,
        }
