"""An instance knows how its clock differs from the broker's before it takes work: deadlines are the broker's time.

A delivery report of a topic in append time carries that time. An instance's own first ones would be those of its first replies,
after it has called the first queries late or early; so it sends a report that says nothing, until the difference is known well.
"""

from __future__ import annotations

import logging
import time

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas import reports
from infaas.schemas.errors import InfaasError
from infaas.schemas.reports import Backlog
from infaas.schemas.topics import TELEMETRY

log = logging.getLogger(__name__)
ROUND_TRIPS = 5
"""The first pays for the connection."""
KNOWN_MS = 3.0
ROUND_TRIP_S = 2.0


def calibrate(outbox: Outbox, settings: BusSettings, *, worker: str, timeout: float) -> bool:
    """Whether the difference is known; tried until it is, or the time is over."""
    deadline = time.monotonic() + timeout
    topic = settings.names.of(TELEMETRY)
    value = reports.encode(Backlog(worker=worker, boot_id="", entries=()))
    trips = 0
    while trips < ROUND_TRIPS and outbox.clock.error_ms > KNOWN_MS and time.monotonic() < deadline:
        try:
            outbox.send_and_wait(topic, key=worker, value=value, partition=0, timeout=ROUND_TRIP_S)
        except InfaasError as error:
            if not error.retryable:
                raise
            log.warning("the broker's time is not known yet", extra={"error": str(error)})
        else:
            trips += 1
    return outbox.clock.error_ms < float("inf")
