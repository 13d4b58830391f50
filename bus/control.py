"""The control plane's commands and its description, by FastStream: the registrar and the scaler alone import this.

FastStream runs in a thread with an event loop of its own. A command is handed to the service's loop and is committed only when
that has confirmed it, so a service that dies meanwhile finds it again. It is committed by its own offset: FastStream's `ack` commits
what was polled by the time the client gets to it, and that may be the next command as well, which nobody has answered.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Self, cast

from confluent_kafka import KafkaException, TopicPartition
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage
from faststream.specification.asyncapi import AsyncAPI

from infaas.bus.errors import translate
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas import reports
from infaas.schemas.commands import AnyCommand
from infaas.schemas.decisions import DecisionRecord, Usage
from infaas.schemas.metadata import AnyRecord
from infaas.schemas.topics import DECISIONS, METADATA, REGISTRAR_GROUP, REGISTRATIONS, TELEMETRY, TOPICS, USAGE

if TYPE_CHECKING:
    from faststream.confluent.config import ConfluentConfig
    from faststream.confluent.helpers.client import AsyncConfluentConsumer

log = logging.getLogger(__name__)
CLOSE_S = 10.0
AGAIN_S = 1.0


class Pending:
    """A command on its way; `done` commits it."""

    def __init__(self, record: Record, loop: asyncio.AbstractEventLoop) -> None:
        self.record = record
        self._loop = loop
        self._finished = asyncio.Event()

    def done(self) -> None:
        """It has been answered; called from the service's thread."""
        self._loop.call_soon_threadsafe(self._finished.set)

    async def wait(self) -> None:
        """Returns when it has been."""
        await self._finished.wait()


class Commands:
    """Consumes registration commands, one at a time, while started.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
    """

    def __init__(self, settings: BusSettings, *, client_id: str) -> None:
        self._settings, self._client_id = settings, client_id
        self._queue: queue.SimpleQueue[Pending] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._again_at = 0.0

    def start(self) -> Self:
        """Joins the group, again if the thread has ended, but not at once: a broker that is away is away for a while."""
        now = time.monotonic()
        if self._thread is None or (not self._thread.is_alive() and now >= self._again_at):
            self._again_at = now + AGAIN_S
            self._ready.clear()
            self._thread = threading.Thread(target=self._main, daemon=True, name="commands")
            self._thread.start()
            self._ready.wait(CLOSE_S)
        return self

    def stop(self) -> None:
        """Leaves the group; what was taken and not done comes again."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CLOSE_S)
        self._thread = None
        while self.take() is not None:
            pass

    def take(self) -> Pending | None:
        """The next command, if there is one."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001 - a thread's end is seen by the next `start`, which tries again
            log.warning("commands are not consumed", extra={"error": str(error)})
            self._ready.set()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        broker = _broker(self._settings, self._client_id)

        @broker.subscriber(
            self._settings.names.of(REGISTRATIONS),
            group_id=self._settings.names.group(REGISTRAR_GROUP),
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=max(30, self._settings.session_timeout_ms // 10),
        )
        async def on_command(_: Any, message: KafkaMessage) -> None:
            raw = message.raw_message
            pending = Pending(Record(raw[0] if isinstance(raw, tuple) else raw), asyncio.get_running_loop())
            self._queue.put(pending)
            await pending.wait()
            await asyncio.to_thread(_commit, message, pending.record)

        self._ready.set()
        await broker.start()
        try:
            await self._stop.wait()
        finally:
            # A handler that waits for us would wait for ever.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await broker.stop()


def _commit(message: KafkaMessage, record: Record) -> None:
    """Commits one command; one that is not committed comes again, and is answered again."""
    consumer = cast("AsyncConfluentConsumer", message.consumer).consumer
    try:
        consumer.commit(offsets=[TopicPartition(record.topic, record.partition, record.offset + 1)], asynchronous=False)
    except KafkaException as error:
        log.info("a command is not committed", extra={"offset": record.offset, "error": str(translate(error))})


def _broker(settings: BusSettings, client_id: str) -> KafkaBroker:
    return KafkaBroker(
        settings.bootstrap_servers,
        client_id=client_id,
        config=cast("ConfluentConfig", {"log_level": 2, "enable.auto.offset.store": False, **settings.given}),
        allow_auto_create_topics=False,
        logger=None,
        graceful_timeout=2.0,
        apply_types=True,
        decoder=_undecoded,
    )


async def _undecoded(message: KafkaMessage) -> bytes:
    """The body as it came: a command that can't be read is answered by the service, which names the field."""
    return message.body if isinstance(message.body, bytes) else b""


def asyncapi_document(settings: BusSettings) -> dict[str, Any]:
    """The AsyncAPI description of the cell: every topic of the table, and the schemas of those that carry our own records."""
    broker = KafkaBroker(settings.bootstrap_servers)
    schemas: dict[str, Any] = {
        REGISTRATIONS.name: AnyCommand,
        METADATA.name: AnyRecord,
        TELEMETRY.name: reports.AnyReport,
        DECISIONS.name: DecisionRecord,
        USAGE.name: Usage,
    }
    for topic in TOPICS:
        family = f"{topic.name}.{{variant}}" if topic.per_variant else topic.name
        broker.publisher(
            settings.names.prefix + family,
            title=topic.name,
            description=f"{topic.value}. Key: {topic.key}. Written by {topic.writers}, read by {topic.readers}.",
            schema=schemas.get(topic.name, bytes),
        )
    FastStream(broker)
    found: dict[str, Any] = AsyncAPI(broker, title="INFaaS on Kafka", version="1").to_specification().to_jsonable()
    return found
