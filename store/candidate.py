"""One candidate for a role: its producer, its view, its telemetry and its leadership, followed together in one step."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.bus.telemetry import TelemetryReader
from infaas.schemas.metadata import Role
from infaas.schemas.reports import AnyReport
from infaas.store.leadership import Leadership
from infaas.store.table import Change, Table
from infaas.store.view import View


@dataclass(frozen=True, slots=True)
class News:
    """What one step has read."""

    changes: tuple[Change, ...]
    reports: tuple[tuple[AnyReport, float], ...]
    """With the topic's time of each, epoch ms."""


class Candidate:
    """Follows metadata and telemetry; claims, ticks, repairs or steps down.

    Args:
        settings: of the cell.
        role: what is led.
        name: shown by the broker.
        needs_reports: whether a leader acts on reports, and so waits for them in place of metadata; one that does not
            reads them only while it stands by.
    """

    def __init__(self, settings: BusSettings, *, role: Role, name: str, needs_reports: bool = True) -> None:
        self._needs_reports = needs_reports
        self.outbox = Outbox(settings, client_id=name)
        self.table = Table(settings, client_id=name)
        self._telemetry = TelemetryReader(settings, client_id=name)
        self.leadership = Leadership(settings, role=role, table=self.table, outbox=self.outbox)
        self.table.open()

    def step(self, wait_s: float) -> News:
        """Reads what is new, waiting at most `wait_s` for it.

        Raises:
            ProducerFatal: the process has to start again.
        """
        waits_for_reports = self.leads and self._needs_reports
        reports = self._telemetry.poll(wait_s) if waits_for_reports else []
        changes = self.table.poll(0.0 if waits_for_reports else wait_s)
        self.outbox.poll(0)
        if not waits_for_reports:
            reports = self._telemetry.poll(0)
        for report, _ in reports:
            self.leadership.observe(report)
        self.leadership.step()
        if self.leads and not self._needs_reports:
            self._telemetry.rest()
        else:
            self._telemetry.resume()
        return News(tuple(changes), tuple(reports))

    @property
    def leads(self) -> bool:
        """Whether we lead, as far as we have read."""
        return self.leadership.is_leader

    @property
    def view(self) -> View:
        """The picture now."""
        return self.table.view()

    @property
    def settled(self) -> bool:
        """Whether all that we have written under this epoch is in the picture: else nothing is decided upon it."""
        return self.leadership.settled(self.table.view().offset)

    def close(self) -> None:
        """Resigns, so that a standby need not wait."""
        self.leadership.resign()
        self.outbox.close()
        self.table.close()
        self._telemetry.close()
