"""`python -m infaas.workers`: the supervisor of this machine."""

from __future__ import annotations

import sys

from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service
from infaas.schemas.errors import Fenced
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor


def main(stop: Stop) -> None:
    """Runs until it is told to stop, or another supervisor has our name."""
    supervisor = Supervisor(settings=BusSettings(), own=WorkerSettings())
    try:
        while not stop:
            supervisor.step()
    except Fenced:
        supervisor.abandon()
        raise
    supervisor.close()


if __name__ == "__main__":
    sys.exit(run_service(main))
