"""A router without a cell: what registrar, scaler and supervisors would write is written for it, and nobody runs what it sends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from infaas.bench.fleet import APPLICATION, Fleet
from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import Reporter
from infaas.host.spawn import spawn
from infaas.schemas import metadata
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import APPLICATION as APPLICATION_HEADER
from infaas.schemas.headers import CORRELATION, LATENCY_MS, HeaderList
from infaas.schemas.metadata import Leader
from infaas.schemas.reports import Backlog
from infaas.schemas.topics import METADATA, QUERIES

REAL = 2
"""Instances of the first variant whose partitions are there, and that are idle; the others are full, and so get nothing."""
MUCH = 10_000_000
REPORT_S = 0.1
READY_S = 60.0
LOOK_S = 0.005


class Ends:
    """How many records stand in some partitions of a topic."""

    def __init__(self, settings: BusSettings, topic: str, partitions: int) -> None:
        self._admin, self._topic = Admin(settings, client_id="ends"), topic
        self._partitions = {topic: partitions}

    def each(self) -> list[int]:
        """By partition."""
        return [end for _, (_, end) in sorted(self._admin.watermarks(self._partitions).items())]

    def wait_for(self, records: int) -> None:
        """Until so many are there in all.

        Raises:
            InfaasError: none came for a minute.
        """
        deadline = time.monotonic() + READY_S
        while sum(self.each()) < records:
            if time.monotonic() > deadline:
                raise InfaasError(f"{self._topic}: {sum(self.each())} of {records} records after {READY_S:g} s")
            time.sleep(LOOK_S)

    def close(self) -> None:
        """Leaves."""
        self._admin.close()


class Side:
    """A process that takes records from one topic and sends them to another; it stands still but for its turns."""

    def __init__(self, process: subprocess.Popen[bytes], *, source: str, headers: HeaderList, ends: Ends) -> None:
        self._process, self.source, self.headers, self.ends = process, source, headers, ends
        self.rates: list[float] = []
        self.cpu_us: list[float] = []

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def freeze(self) -> None:
        """It stands still."""
        self._process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        """It goes on."""
        self._process.send_signal(signal.SIGCONT)

    def turn(self, outbox: Outbox, value: bytes, records: int) -> None:
        """Has so many records ready, lets it go, and measures how long it takes for all of them."""
        for _ in range(records):
            outbox.send(self.source, value=value, headers=self.headers)
        outbox.flush(60.0)
        goal = sum(self.ends.each()) + records
        used, begun = psutil.Process(self._process.pid).cpu_times(), time.perf_counter()
        self.release()
        self.ends.wait_for(goal)
        took_s, now = time.perf_counter() - begun, psutil.Process(self._process.pid).cpu_times()
        self.freeze()
        self.rates.append(records / took_s)
        self.cpu_us.append(1e6 * (now.user + now.system - used.user - used.system) / records)

    def forget(self) -> None:
        """What was measured so far was warming up."""
        self.rates.clear()
        self.cpu_us.clear()


def headers() -> HeaderList:
    """Of a query that any variant may answer."""
    return [
        (APPLICATION_HEADER, APPLICATION.encode()),
        (LATENCY_MS, b"60000"),
        (CORRELATION[0], b"bench"),
    ]


@contextlib.contextmanager
def lone_router(settings: BusSettings, fleet: Fleet, logs: Path) -> Iterator[tuple[Side, float]]:
    """Starts it on a fleet; gives it, frozen, and how many s it took from its start to its first record."""
    _write(settings, fleet)
    work = settings.names.work(fleet.names[0])
    ends = Ends(settings, work, REAL)
    with _supervisors(settings, fleet), (logs / f"{settings.topic_prefix}log").open("ab") as log:
        begun = time.monotonic()
        process = spawn(
            "infaas.router",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            environment={
                "INFAAS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
                "INFAAS_TOPIC_PREFIX": settings.topic_prefix,
                "INFAAS_SESSION_TIMEOUT_MS": str(settings.session_timeout_ms),
            },
        )
        try:
            side = Side(process, source=settings.names.of(QUERIES), headers=headers(), ends=ends)
            ends.wait_for(1)
            ready_s = time.monotonic() - begun
            side.freeze()
            yield side, ready_s
        finally:
            process.kill()
            process.wait()
            ends.close()


def _write(settings: BusSettings, fleet: Fleet) -> None:
    """The topics, all metadata, and one query."""
    admin = Admin(settings, client_id="bench")
    try:
        admin.ensure_topics()
        admin.make_topics({settings.names.work(fleet.names[0]): REAL})
    finally:
        admin.close()
    outbox = Outbox(settings, client_id="bench")
    topic = settings.names.of(METADATA)
    epochs = {}
    for role in ("registrar", "scaler"):
        claim = Leader(role=role, nonce=os.urandom(8).hex(), claimed_at_ms=int(time.time() * 1000))
        epochs[role] = outbox.send_and_wait(topic, key=claim.key, value=metadata.encode(claim), partition=0).offset
    for record in fleet.records():
        outbox.send(
            topic, key=record.key, value=metadata.encode(record), headers=fleet.headers(record, epochs), partition=0
        )
    outbox.send(settings.names.of(QUERIES), value=b"{}", headers=headers())
    outbox.close(60.0)


@contextlib.contextmanager
def _supervisors(settings: BusSettings, fleet: Fleet) -> Iterator[None]:
    """Reports, ten times a second, that the real instances have answered everything; once, that the others are full."""
    stop, first = threading.Event(), fleet.names[0]
    outbox = Outbox(settings, client_id="supervisors")
    reporter = Reporter(outbox, settings)
    own = Ends(settings, settings.names.work(first), REAL)

    def tell(report: Backlog) -> None:
        reporter.send(report, report.worker)

    def run() -> None:
        for at in range(REAL, fleet.workers):
            tell(fleet.report(first, at, end=MUCH, completed=0))
        while not stop.wait(REPORT_S):
            for at, end in enumerate(own.each()):
                tell(fleet.report(first, at, end=end, completed=end))
            outbox.poll(0)

    thread = threading.Thread(target=run, name="supervisors")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        own.close()
        outbox.close()
