"""Telemetry: reports out, and reports in with the broker's time of each."""

from __future__ import annotations

import logging
import time

from confluent_kafka import OFFSET_END, Consumer, KafkaError, TopicPartition

from infaas.bus.ask import ask
from infaas.bus.errors import translate
from infaas.bus.outbox import Outbox
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas import reports
from infaas.schemas.errors import InfaasError
from infaas.schemas.reports import AnyReport, Report
from infaas.schemas.topics import TELEMETRY

log = logging.getLogger(__name__)
BATCH = 10_000
WAIT_MS = 500  # data ends a wait at once


class TelemetryReader:
    """Follows the telemetry topic from a little while ago; no group, nothing committed."""

    def __init__(self, settings: BusSettings, *, client_id: str, back_ms: int = 5_000, timeout: float = 10.0) -> None:
        self._topic = settings.names.of(TELEMETRY)
        self._reading = True
        self._consumer = Consumer(
            # A report that was deleted before we read it is no loss: the next one says more.
            settings.consumer(
                client_id, settings.names.group(f"telemetry-{client_id}"), reset="latest", wait_ms=WAIT_MS
            ),
            logger=log,
        )
        since = TopicPartition(self._topic, 0, int(time.time() * 1000) - back_ms)
        position = ask(
            lambda: self._consumer.offsets_for_times([since], timeout=timeout)[0], f"reading {self._topic}", timeout
        )
        self._consumer.assign([TopicPartition(self._topic, 0, position.offset if position.offset >= 0 else OFFSET_END)])

    def poll(self, timeout: float = 0.0) -> list[tuple[AnyReport, float]]:
        """Reports with their append time (epoch ms), waiting at most `timeout` s for the first."""
        message = self._consumer.poll(timeout)
        if message is None:
            return []
        out = []
        for arrived in [message, *self._consumer.consume(BATCH, 0)]:
            error = arrived.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    log.warning("reading telemetry", extra={"error": str(translate(error))})
                continue
            record = Record(arrived)
            try:
                out.append((reports.decode(record.value), record.timestamp_ms))
            except InfaasError as bad:
                log.warning("a report that can't be read", extra={"error": str(bad)})
        return out

    def rest(self) -> None:
        """Reads nothing from here on, and the broker sends nothing: each report wakes everybody who follows them."""
        if self._reading:
            self._reading = False
            self._consumer.unassign()

    def resume(self) -> None:
        """Reads what comes from now on; what was reported meanwhile is history."""
        if not self._reading:
            self._reading = True
            self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_END)])

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()


class Reporter:
    """Sends reports; a lost one is made up for by the next."""

    def __init__(self, outbox: Outbox, settings: BusSettings) -> None:
        self._outbox, self._topic = outbox, settings.names.of(TELEMETRY)

    def send(self, report: Report, key: str) -> None:
        """Queues a report; a full queue drops it."""
        try:
            self._outbox.send(self._topic, key=key, value=reports.encode(report), partition=0, wait=False)
        except InfaasError as error:
            if not error.retryable:
                raise
            log.debug("report dropped", extra={"key": key, "error": str(error)})
