"""Every topic, in one table: created, checked and documented from here; no topic name stands anywhere else.

`None` as a limit means: the broker's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infaas.schemas.errors import BadName

HEADROOM_BYTES = 64 * 1024  # headers are added on the way, so downstream topics take a little more than `queries`
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic, or one family of topics when `per_variant`."""

    name: str
    partitions: int
    key: str
    value: str
    writers: str
    readers: str
    config: Mapping[str, str] = field(default_factory=dict)
    per_variant: bool = False
    payload: str = ""
    """"in" for queries, "out" for what must hold a query plus headers, "" for small control records."""


QUERIES = Topic(
    "queries", 8, "the caller's, free", "Open Inference Protocol v2 request, JSON or binary", "callers", "routers, replay",
    {"message.timestamp.type": "LogAppendTime", "retention.ms": str(7 * DAY_MS)}, payload="in",
)  # fmt: skip
RETURNS = Topic(
    "returns", 4, "the caller's", "a query that nobody can run where it was sent, with what travelled", "scaler", "routers",
    {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}, payload="out",
)  # fmt: skip
WORK = Topic(
    "work", 4, "the caller's", "the query's bytes, untouched", "routers", "the variant's instances",
    {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}, per_variant=True, payload="out",
)  # fmt: skip
OFFLINE = Topic(
    "offline", 4, "the caller's", "the query's bytes, untouched", "routers", "the variant's instances, when idle",
    {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}, per_variant=True, payload="out",
)  # fmt: skip
REPLIES = Topic(
    "replies", 64, "the caller's, else the query id", "Open Inference Protocol v2 response or {\"error\": ...}", "workers, routers, scaler", "callers",
    {"message.timestamp.type": "LogAppendTime", "retention.ms": str(DAY_MS)}, payload="out",
)  # fmt: skip
REGISTRATIONS = Topic(
    "registrations", 1, "architecture", "RegisterModel, UnregisterModel", "callers", "registrar",
    {"retention.ms": str(7 * DAY_MS)},
)  # fmt: skip
METADATA = Topic(
    "metadata", 1, "kind/...", "a metadata record", "scaler, registrar, workers", "everybody",
    {"cleanup.policy": "compact", "min.compaction.lag.ms": str(DAY_MS), "delete.retention.ms": str(7 * DAY_MS)},
)  # fmt: skip
TELEMETRY = Topic(
    "telemetry", 1, "reporter", "WorkerReport, RouterReport, Backlog, VariantWanted, Tick", "all", "scaler, routers",
    {"message.timestamp.type": "LogAppendTime", "retention.ms": str(60 * MINUTE_MS)},
)  # fmt: skip
DECISIONS = Topic(
    "decisions", 1, "what for", "what was decided, from which inputs, why", "scaler, routers", "people",
    {"retention.ms": str(7 * DAY_MS)},
)  # fmt: skip
USAGE = Topic(
    "usage", 1, "machine", "machine-seconds by instance", "scaler", "cost", {"retention.ms": str(90 * DAY_MS)},
)  # fmt: skip
DEAD_LETTERS = Topic(
    "dead-letters", 1, "as found", "the record, with Kafka Connect's error headers", "all", "people",
    {"retention.ms": str(30 * DAY_MS)}, payload="out",
)  # fmt: skip

TOPICS: tuple[Topic, ...] = (
    QUERIES, RETURNS, WORK, OFFLINE, REPLIES, REGISTRATIONS, METADATA, TELEMETRY, DECISIONS, USAGE, DEAD_LETTERS,
)  # fmt: skip
FIXED: tuple[Topic, ...] = tuple(topic for topic in TOPICS if not topic.per_variant)

ROUTER_GROUP = "router"
WORK_GROUP = "work"
REGISTRAR_GROUP = "registrar"


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Full names, under the prefix of one cell (`infaas.` unless set)."""

    prefix: str = "infaas."

    def of(self, topic: Topic) -> str:
        """The full name of a topic that is not per variant."""
        return self.prefix + topic.name

    def work(self, variant: str) -> str:
        """The topic of a variant's online work."""
        return f"{self.prefix}work.{variant}"

    def offline(self, variant: str) -> str:
        """The topic of a variant's offline work."""
        return f"{self.prefix}offline.{variant}"

    def group(self, name: str) -> str:
        """A consumer group's full name."""
        return self.prefix + name

    def variant_of(self, full_name: str) -> str:
        """The variant of a `work` or `offline` topic.

        Raises:
            BadName: if the topic is no such topic of this prefix.
        """
        for family in (WORK, OFFLINE):
            head = f"{self.prefix}{family.name}."
            if full_name.startswith(head):
                return full_name[len(head) :]
        raise BadName("topic", f"a work or offline topic under {self.prefix!r}", full_name)

    def is_internal(self, full_name: str) -> bool:
        """Whether a topic belongs to the system; `replies` alone may be written on a caller's word."""
        return (full_name.startswith(self.prefix) and full_name != self.of(REPLIES)) or full_name.startswith("__")


def topic_config(topic: Topic, *, max_query_bytes: int, queries_retention_bytes: int = -1) -> dict[str, str]:
    """The settings a topic is created with, and checked against."""
    config = dict(topic.config)
    if topic.payload == "in":
        config["max.message.bytes"] = str(max_query_bytes)
        config["retention.bytes"] = str(queries_retention_bytes)
    elif topic.payload == "out":
        config["max.message.bytes"] = str(max_query_bytes + HEADROOM_BYTES)
    return config
