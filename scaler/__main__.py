"""`python -m infaas.scaler`: one scaler; the first to claim leads, the others stand by."""

from __future__ import annotations

import sys

from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings


def main(stop: Stop) -> None:
    """Scales until it is told to stop."""
    scaler = Scaler(settings=BusSettings(), own=ScalerSettings())
    while not stop:
        scaler.step()
    scaler.close()


if __name__ == "__main__":
    sys.exit(run_service(main))
