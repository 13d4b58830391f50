"""What a supervisor reports: how far its instances are every 0.1 s if that is news, all that is known of them every 0.5 s."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

import psutil

from infaas.bus.telemetry import Reporter
from infaas.host.child import Child
from infaas.schemas.reports import Backlog, BacklogEntry, WorkerReport
from infaas.workers.running import Running

REPORT_EVERY_S = 0.5
BACKLOG_EVERY_S = 0.1


class Hosted(Protocol):
    """What runs on a worker."""

    cores: tuple[int, ...]
    child: Child | None


class Reporting:
    """Reports of one worker; `step` is called often.

    Args:
        reporter: sends them.
        worker: its name.
        cores: how many it has.
    """

    def __init__(self, reporter: Reporter, *, worker: str, cores: int) -> None:
        self._reporter, self._worker, self._cores = reporter, worker, cores
        self._next_report = self._next_backlog = 0.0
        self._reported: tuple[BacklogEntry, ...] = ()
        self._news: dict[tuple[str, int], float] = {}
        """When each instance last told how far it is, as of the last look."""
        self._sequence = 0
        self._cpu_s, self._cpu_at = 0.0, time.monotonic()

    def step(self, boot_id: str, running: Mapping[tuple[str, int], Running], builds: Mapping[str, Hosted]) -> None:
        """Reports what is due."""
        now = time.monotonic()
        if now >= self._next_backlog:
            self._next_backlog = now + BACKLOG_EVERY_S
            news = {key: instance.news_s for key, instance in running.items()}
            if news != self._news:
                self._news = news
                self._report_backlog(boot_id, running.values())
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY_S
            self._report_all(now, boot_id, running.values(), builds)

    def _report_backlog(self, boot_id: str, running: Iterable[Running]) -> None:
        entries = tuple(instance.backlog() for instance in running)
        positions = tuple(entry.model_copy(update={"age_ms": 0.0}) for entry in entries)
        if positions != self._reported:
            self._reported = positions
            self._reporter.send(Backlog(worker=self._worker, boot_id=boot_id, entries=entries), self._worker)

    def _report_all(self, now: float, boot_id: str, running: Iterable[Running], builds: Mapping[str, Hosted]) -> None:
        instances = list(running)
        for instance in instances:
            instance.slot()
        self._sequence += 1
        hosted: list[Hosted] = [*instances, *builds.values()]
        report = WorkerReport(
            worker=self._worker,
            boot_id=boot_id,
            sequence=self._sequence,
            instances=tuple(instance.report() for instance in instances),
            cores_used=self._cores_used(now, hosted),
            builds=tuple(sorted(builds)),
            idle_cores=self._cores - sum(len(one.cores) for one in hosted),
        )
        self._reporter.send(report, self._worker)

    def _cores_used(self, now: float, hosted: Iterable[Hosted]) -> float:
        """Cores' worth of processor time the children used since the last report."""
        used = 0.0
        for child in [one.child for one in hosted]:
            if child is not None:
                try:
                    used += sum(psutil.Process(child.pid).cpu_times()[:2])
                except psutil.Error:
                    continue
        rate = max(0.0, used - self._cpu_s) / max(1e-3, now - self._cpu_at)
        self._cpu_s, self._cpu_at = used, now
        return round(rate, 3)
