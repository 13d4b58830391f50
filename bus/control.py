"""The control plane's commands and its description, by FastStream: the registrar and the scaler alone import this.

FastStream runs in a thread with an event loop of its own. A command is handed to the service's loop and is committed only when
that has confirmed it, so a service that dies meanwhile finds it again. It is committed by its own offset: FastStream's `ack` commits
what was polled by the time the client gets to it, and that may be the next command as well, which nobody has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
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
CLOSE_S = 5.0
AGAIN_S = 1.0
POLL_S = 0.5  # a command ends the wait at once; only leaving waits for its end


class Pending:
    """A command on its way; `done` commits it."""

    def __init__(self, record: Record, loop: asyncio.AbstractEventLoop) -> None:
        self.record = record
        self._loop = loop
        self._finished = asyncio.Event()

    def done(self) -> None:
        """It has been answered; called from the service's thread."""
        _call(self._loop, self._finished.set)

    async def wait(self) -> None:
        """Returns when it has been."""
        await self._finished.wait()


class Commands:
    """Consumes registration commands, one at a time, while started.

    `start`, `take` and `stop` are called on the thread that ticks, and wait for nobody: neither for a broker that does not
    answer, nor for a membership that takes long to end.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
    """

    def __init__(self, settings: BusSettings, *, client_id: str) -> None:
        self._settings, self._client_id = settings, client_id
        self._membership: _Membership | None = None
        self._again_at = 0.0

    def start(self) -> Self:
        """Joins the group, unless we are in it.

        Not at once where a membership has ended by itself, for a broker that is away is away for a while; and not before one
        that was stopped has ended: the two would share the topic, and what the older takes nobody handles.
        """
        now = time.monotonic()
        if self._membership is not None and self._membership.ended:
            self._membership = None
        if self._membership is None and now >= self._again_at:
            self._again_at = now + AGAIN_S
            self._membership = _Membership(self._settings, self._client_id)
        return self

    def stop(self) -> None:
        """Begins to leave the group; what was taken and not done comes again."""
        if self._membership is not None:
            self._membership.stop()

    def close(self, within_s: float = CLOSE_S) -> None:
        """Leaves the group, waiting a while for it: a member that just goes is missed only after its session."""
        if self._membership is not None:
            self._membership.stop()
            self._membership.join(within_s)

    @property
    def waiting(self) -> bool:
        """Whether a command is there to be taken."""
        return self._membership is not None and self._membership.waiting

    def take(self) -> Pending | None:
        """The next command, if there is one."""
        return None if self._membership is None else self._membership.take()


class _Membership:
    """From joining the group to having left it: a thread with an event loop, and what came in it."""

    def __init__(self, settings: BusSettings, client_id: str) -> None:
        self._settings, self._client_id = settings, client_id
        self._queue: queue.SimpleQueue[Pending] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._wake: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._main, daemon=True, name="commands")
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether it has left, or never came in."""
        return not self._thread.is_alive()

    @property
    def waiting(self) -> bool:
        """Whether a command is there to be taken."""
        return not self._stopping.is_set() and not self._queue.empty()

    def take(self) -> Pending | None:
        """The next command, none once it was stopped."""
        if self._stopping.is_set():
            return None
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Asks it to leave."""
        self._stopping.set()
        if self._wake is not None:
            self._wake()

    def join(self, timeout: float) -> None:
        """Waits for its end."""
        self._thread.join(timeout)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001 - a thread's end is seen by the next `start`, which tries again
            log.warning("commands are not consumed", extra={"error": str(error)})

    async def _run(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: _call(loop, stop.set)
        if self._stopping.is_set():  # before there was anybody to wake
            return
        broker = _broker(self._settings, self._client_id)

        @broker.subscriber(
            self._settings.names.of(REGISTRATIONS),
            group_id=self._settings.names.group(REGISTRAR_GROUP),
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            session_timeout_ms=self._settings.session_timeout_ms,
            # Alone in its group while it leads: only its successor's joining, or its own death, is told by these.
            heartbeat_interval_ms=max(30, self._settings.session_timeout_ms // 4),
            polling_interval=POLL_S,
        )
        async def on_command(_: Any, message: KafkaMessage) -> None:
            raw = message.raw_message
            pending = Pending(Record(raw[0] if isinstance(raw, tuple) else raw), loop)
            self._queue.put(pending)
            await pending.wait()
            await asyncio.to_thread(_commit, message, pending.record)

        await broker.start()
        try:
            await stop.wait()
        finally:
            # A handler that waits for us would wait for ever.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await broker.stop()


def _call(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Calls in the loop's thread; a loop that has ended has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(act)


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
