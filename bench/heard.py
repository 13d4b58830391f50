"""What it takes a router to hear of a thousand workers that have nothing to do, and of as many that are all busy. On real Kafka.

Each worker reports twice a second, and where its instances work ten times more. No query comes meanwhile: what is measured is the hearing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil

from infaas.bench.fleet import Fleet
from infaas.bench.lone_router import lone_router
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import Reporter
from infaas.cli.console import progress
from infaas.schemas.reports import Backlog, InstanceReport, Position, WorkerReport

WORKERS = 1000
SIGNS, BACKLOGS = 2, 10
"""Reports of a worker, a second: signs of life, and what waits at those that work."""
SESSION_MS = 120_000
WARM_S, FOR_S, TICK_S = 3.0, 10.0, 0.02


def heard() -> dict[str, float]:
    """Measures; returns cores."""
    with tempfile.TemporaryDirectory(prefix="infaas-bench-") as folder, EmbeddedBroker.start() as broker:
        settings = BusSettings(bootstrap_servers=broker.bootstrap_servers, session_timeout_ms=SESSION_MS)
        workers = _Workers(settings)
        try:
            with lone_router(settings, workers.fleet, Path(folder)) as (side, _):
                side.release()
                silent = _cores(workers, side.pid, 0, 0)
                idle = _cores(workers, side.pid, SIGNS, 0)
                busy = _cores(workers, side.pid, SIGNS, BACKLOGS)
        finally:
            workers.close()
        return {
            "telemetry_silent_cores": round(silent, 4),
            "telemetry_1000_idle_cores": round(idle - silent, 4),
            "telemetry_1000_busy_cores": round(busy - silent, 4),
        }


def _cores(workers: _Workers, pid: int, signs: int, backlogs: int) -> float:
    progress(f"{WORKERS} workers that report {signs} + {backlogs} times a second")
    workers.report(signs, backlogs, WARM_S)
    before, begun = psutil.Process(pid).cpu_times(), time.perf_counter()
    workers.report(signs, backlogs, FOR_S)
    took_s, after = time.perf_counter() - begun, psutil.Process(pid).cpu_times()
    return (after.user + after.system - before.user - before.system) / took_s


class _Workers:
    """What a thousand supervisors say of an instance each, evenly over the time."""

    def __init__(self, settings: BusSettings) -> None:
        self.fleet = Fleet(1, WORKERS)
        self._outbox = Outbox(settings, client_id="thousand")
        self._reporter = Reporter(self._outbox, settings)
        self._sequence = count(1)

    def report(self, signs: int, backlogs: int, seconds: float) -> None:
        """Reports at this pace for so long."""
        turn = self._turn(signs, backlogs)
        begun, sent = time.perf_counter(), 0
        while (gone := time.perf_counter() - begun) < seconds:
            for _ in range(int(gone * WORKERS * (signs + backlogs)) - sent):
                report = next(turn)
                self._reporter.send(report, report.worker)
                sent += 1
            self._outbox.poll(0)
            time.sleep(TICK_S)

    def close(self) -> None:
        """Leaves."""
        self._outbox.close()

    def _turn(self, signs: int, backlogs: int) -> Iterator[Backlog | WorkerReport]:
        name, boots = self.fleet.names[0], list(self.fleet.boots.items())
        while True:
            number = next(self._sequence)
            for kind in range(signs + backlogs):
                for at, (worker, boot) in enumerate(boots):
                    end = number * WORKERS
                    if kind >= signs:
                        yield self.fleet.report(name, at, end=end, completed=end - 2)
                        continue
                    position = Position(partition=at, end=end, completed=end - 2)
                    instance = InstanceReport(
                        variant=name,
                        instance=0,
                        pid=1,
                        state="active",
                        query_ms=self.fleet.query_ms,
                        positions=(position,),
                    )
                    yield WorkerReport(worker=worker, boot_id=boot, sequence=number, instances=(instance,))
