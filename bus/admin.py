"""Topics and groups: made, checked, grown, emptied and asked about."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from infaas.bus.ask import ask
from infaas.bus.commits import Commit, Place, ask_commits
from infaas.bus.errors import translate, translated
from infaas.bus.partition_count import ask_partition_count
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import ConfigurationError, KafkaUnavailable
from infaas.schemas.topics import FIXED, OFFLINE, QUERIES, REPLIES, RETURNS, WORK, WORK_GROUP, Topic, topic_config

log = logging.getLogger(__name__)
TIMEOUT_S = 15.0
VISIBLE_S = 10.0


class Admin:
    """Asks the cluster and changes it; every call waits for its result.

    Every method raises KafkaUnavailable if no broker answers in time.
    """

    def __init__(self, settings: BusSettings, *, client_id: str) -> None:
        self._settings, self._names, self._client_id = settings, settings.names, client_id
        self._admin = AdminClient(settings.common(client_id))
        # A group's coordinator is asked by a consumer, or by a client that lives no longer than the question. An AdminClient
        # remembers it by a connection that is dropped when the broker restarts; its questions wait until they time out, for ten
        # minutes, and those that did abort the process later (librdkafka 2.16; decision 0028).
        self._committers: dict[str, Consumer] = {}
        self._lock = threading.Lock()  # a leader's lanes ask at the same time

    def wait_for_broker(self, timeout: float = 30.0) -> None:
        """Returns when a broker answers.

        Raises:
            KafkaUnavailable: if none does in time; the message says where it was looked for.
        """
        try:
            self._admin.list_topics(timeout=timeout)
        except KafkaException as error:
            raise KafkaUnavailable(
                f"no Kafka at {self._settings.bootstrap_servers} ({translate(error)}). Start one with `infaas broker start`, "
                "or set INFAAS_BOOTSTRAP_SERVERS"
            ) from None

    def ensure_topics(self) -> list[str]:
        """Makes the topics that are missing; returns their names."""
        return self._ensure({self._names.of(topic): topic for topic in FIXED})

    def ensure_variant_topics(self, variant: str) -> list[str]:
        """Makes a variant's work and offline topics, and waits until they can be seen."""
        return self._ensure({self._names.work(variant): WORK, self._names.offline(variant): OFFLINE})

    def make_topics(self, partitions: Mapping[str, int]) -> None:
        """Makes plain topics by full name, for callers who bring their own; those that are there are left."""
        sizes = self._list()
        new = [NewTopic(name, count, -1) for name, count in partitions.items() if name not in sizes]
        with translated(f"making {sorted(partitions)}"):
            for future in (self._admin.create_topics(new, request_timeout=TIMEOUT_S) if new else {}).values():
                future.result()
        self._until(lambda: set(partitions) <= set(self._list()), f"{sorted(partitions)} to be there")

    def _ensure(self, wanted: Mapping[str, Topic]) -> list[str]:
        sizes = self._list()
        missing = {name: topic for name, topic in wanted.items() if name not in sizes}
        if not missing:
            return []
        new = [NewTopic(name, self._size(topic), -1, config=self._config(topic)) for name, topic in missing.items()]
        for name, future in self._admin.create_topics(new, request_timeout=TIMEOUT_S).items():
            with translated(f"making {name}", harmless=KafkaError.TOPIC_ALREADY_EXISTS):
                future.result()
        self._until(lambda: set(missing) <= set(self._list()), f"{sorted(missing)} to be there")
        return sorted(missing)

    def _size(self, topic: Topic) -> int:
        match topic.name:
            case REPLIES.name:
                return self._settings.reply_partitions
            case QUERIES.name:
                return self._settings.query_partitions
            case RETURNS.name:
                return min(self._settings.query_partitions, topic.partitions)
            case _:
                return topic.partitions

    def _least(self, topic: Topic) -> int:
        """Fewer are wrong; of what routers share the number was chosen by whoever made the cell."""
        return 1 if topic in (QUERIES, RETURNS) else self._size(topic)

    def _config(self, topic: Topic) -> dict[str, str]:
        return topic_config(
            topic,
            max_query_bytes=self._settings.max_query_bytes,
            queries_retention_bytes=self._settings.queries_retention_bytes,
        )

    def check_topics(self) -> list[str]:
        """What differs from the table of topics, a line each; empty = all is as it should be."""
        sizes = self._list()
        wanted = {self._names.of(topic): topic for topic in FIXED}
        wrong = [f"{name}: missing" for name in wanted if name not in sizes]
        present = [name for name in wanted if name in sizes]
        wrong += [
            f"{name}: {sizes[name]} partitions, at least {self._least(wanted[name])} wanted"
            for name in present
            if sizes[name] < self._least(wanted[name])
        ]
        for name, settings in self._settings_of(present).items():
            for key, value in self._config(wanted[name]).items():
                if settings.get(key) != value:
                    wrong.append(f"{name}: {key} is {settings.get(key)}, {value} wanted")
        return wrong

    def _settings_of(self, topics: list[str]) -> dict[str, dict[str, str | None]]:
        """What topics are set to, by full name."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        if not resources:
            return {}
        with translated("asking for the settings of topics"):
            return {
                resource.name: {key: entry.value for key, entry in future.result().items()}
                for resource, future in self._admin.describe_configs(resources, request_timeout=TIMEOUT_S).items()
            }

    def repair_topics(self) -> None:
        """Sets the settings of topics that are there to what the table of topics says."""
        sizes = self._list()
        resources = []
        for topic in FIXED:
            if self._names.of(topic) in sizes:
                entries = [
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in self._config(topic).items()
                ]
                resources.append(ConfigResource(ResourceType.TOPIC, self._names.of(topic), incremental_configs=entries))
        if not resources:
            return
        with translated("setting topics as they should be"):
            for future in self._admin.incremental_alter_configs(resources, request_timeout=TIMEOUT_S).values():
                future.result()

    def delete_variant_topics(self, variant: str) -> None:
        """Deletes a variant's topics for good: no topic name is ever used again."""
        self.delete_topics([self._names.work(variant), self._names.offline(variant)])

    def delete_topics(self, names: Iterable[str]) -> None:
        """Deletes topics and waits until they are gone; those that are not there are no error."""
        gone = [name for name in names if name in self._list()]
        if not gone:
            return
        for name, future in self._admin.delete_topics(gone, request_timeout=TIMEOUT_S).items():
            with translated(f"deleting {name}", harmless=KafkaError.UNKNOWN_TOPIC_OR_PART):
                future.result()
        self._until(lambda: not set(gone) & set(self._list()), f"{gone} to be gone")

    def grow(self, variant: str, partitions: int) -> None:
        """Grows a variant's topics, and waits until the new partitions can be seen."""
        for topic in (self._names.work(variant), self._names.offline(variant)):
            if self.partitions(topic) >= partitions:
                continue
            with translated(f"growing {topic}", harmless=KafkaError.INVALID_PARTITIONS):  # somebody else has grown it
                for future in self._admin.create_partitions([NewPartitions(topic, partitions)]).values():
                    future.result()
            self._until(partial(self._has, topic, partitions), f"{topic} to grow")

    def _has(self, topic: str, partitions: int) -> bool:
        return self.partitions(topic) >= partitions

    def topics(self) -> dict[str, int]:
        """All topics of this cell and their numbers of partitions."""
        return {name: count for name, count in self._list().items() if name.startswith(self._names.prefix)}

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has now; 0 = no such topic."""
        with translated(f"asking for {topic}"):
            return ask_partition_count(self._admin, topic, TIMEOUT_S)

    def watermarks(self, topics: Mapping[str, int]) -> dict[Place, tuple[int, int]]:
        """Low watermark and end of every partition of these topics (name → partitions), asked in bulk.

        Only partitions that do not exist are left out: one without a leader, as after a broker's restart, is waited for, since
        who believes it empty loses what stands in it.
        """
        places = [TopicPartition(topic, p) for topic, count in topics.items() for p in range(count)]
        if not places:
            return {}
        low = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        high = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {place: (low[place], high[place]) for place in low if place in high}

    def _offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> dict[Place, int]:
        def question() -> dict[Place, int]:
            asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=TIMEOUT_S) if places else {}
            try:
                return {(p.topic, p.partition): int(future.result().offset) for p, future in asked.items()}
            except KafkaException:
                # Also because the client asks under a leader's old epoch, in vain, until it has heard of the new one.
                sizes = self._list()
                places[:] = [p for p in places if p.partition < sizes.get(p.topic, 0)]
                raise

        return ask(question, "asking for offsets", TIMEOUT_S)

    def committed(self, topics: Mapping[str, int], *, group: str | None = None) -> dict[Place, Commit]:
        """What a group (full name; None = the work group) has committed for every partition of these topics (name → partitions)."""
        places = [(topic, p) for topic, count in topics.items() for p in range(count)]
        return ask_commits(self._committer(group or self._names.group(WORK_GROUP)), places, TIMEOUT_S)

    def commit_work(self, positions: Mapping[Place, int]) -> None:
        """Commits for the work group, and waits for it: what was returned or answered in the owner's place."""
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        if not offsets:
            return
        with translated("committing work"):
            committer = self._committer(self._names.group(WORK_GROUP))
            for place in committer.commit(offsets=offsets, asynchronous=False) or []:
                if place.error is not None:
                    raise translate(place.error, f"committing {place.topic}-{place.partition}")

    def delete_below(self, positions: Mapping[Place, int]) -> None:
        """Deletes the records below these offsets."""
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        if not offsets:
            return
        for future in self._admin.delete_records(offsets, request_timeout=TIMEOUT_S).values():
            try:
                future.result()
            except KafkaException as error:
                log.info("records not deleted", extra={"error": str(error)})

    def group_members(self, group: str) -> set[str]:
        """Ids of the members of a group (full name); empty if there is no such group."""
        asker = AdminClient(self._settings.common(f"{self._client_id}-members"))  # see `_committers`
        with translated(f"asking for group {group}", harmless=KafkaError.GROUP_ID_NOT_FOUND):
            described = asker.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result()
            return {member.member_id for member in described.members}
        return set()

    def close(self) -> None:
        """Closes the connections."""
        for consumer in self._committers.values():
            consumer.close()

    def _committer(self, group: str) -> Consumer:
        """Commits for a group and knows its commits; never assigned anything."""
        with self._lock:
            if group not in self._committers:
                client_id = f"{self._client_id}-{group}"
                self._committers[group] = Consumer(
                    self._settings.consumer(client_id, group, reset="error", wait_ms=500)
                )
            return self._committers[group]

    def _list(self) -> dict[str, int]:
        with translated("asking for topics"):
            topics = self._admin.list_topics(timeout=TIMEOUT_S).topics
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    @staticmethod
    def _until(true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + VISIBLE_S
        while not true():
            if time.monotonic() > deadline:
                raise ConfigurationError(f"waited {VISIBLE_S:g} s for {what}")
            time.sleep(0.01)
