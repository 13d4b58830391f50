"""`python -m infaas.registrar`: one registrar; the first to claim leads, the others stand by."""

from __future__ import annotations

import sys

from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service
from infaas.registrar.loop import Registrar
from infaas.registrar.settings import RegistrarSettings


def main(stop: Stop) -> None:
    """Registers until it is told to stop."""
    registrar = Registrar(settings=BusSettings(), own=RegistrarSettings())
    while not stop:
        registrar.step()
    registrar.close()


if __name__ == "__main__":
    sys.exit(run_service(main))
