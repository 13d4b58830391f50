"""A candidate that needs no reports to lead reads none meanwhile, and hears its successor's ticks once it stands by."""

import time

import pytest

from infaas.bus.admin import Admin
from infaas.schemas.reports import Tick
from infaas.store.candidate import Candidate


@pytest.fixture
def two(settings):
    admin = Admin(settings, client_id="test")
    admin.ensure_topics()
    admin.close()
    made = [Candidate(settings, role="registrar", name=name, needs_reports=False) for name in ("first", "second")]
    yield made
    for candidate in made:
        candidate.close()


def lead(candidate):
    """Lets one alone go on until it leads; what it hears meanwhile."""
    deadline, reports = time.monotonic() + 20.0, []
    while not candidate.leads:
        assert time.monotonic() < deadline
        reports += candidate.step(0.01).reports
    return reports


def test_who_leads_reads_no_reports_and_who_was_deposed_hears_the_next(two):
    first, second = two
    lead(first)
    first.step(0.0)
    lead(second)  # the first stands still meanwhile, as a frozen process does
    for _ in range(50):
        assert not second.step(0.01).reports, "its own ticks, at least, are there to be read"
    deadline, heard = time.monotonic() + 20.0, []
    while not any(isinstance(tick, Tick) and tick.epoch == second.leadership.epoch for tick, _ in heard):
        assert time.monotonic() < deadline
        heard += first.step(0.01).reports
        second.step(0.0)
    assert not first.leads
