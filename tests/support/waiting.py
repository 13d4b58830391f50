"""Not a test of the system: what test_interruption.py runs as a run of its own, and interrupts."""

import json
import os
import sys
import time
from pathlib import Path

from processes import start


def test_that_waits_to_be_interrupted(settings):
    """Has a Kafka and a service, says so in the file named by WAITING, and waits."""
    service = start(
        [sys.executable, "-m", "infaas.router"],
        env={**os.environ, "INFAAS_BOOTSTRAP_SERVERS": settings.bootstrap_servers},
    )
    report = Path(os.environ["WAITING"])
    report.with_suffix(".part").write_text(json.dumps({"process": os.getpid(), "service": service.pid}))
    report.with_suffix(".part").rename(report)
    try:
        time.sleep(120)
    finally:
        service.terminate()
        service.wait(20)
