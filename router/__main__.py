"""`python -m infaas.router`: one router."""

from __future__ import annotations

import sys

from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service, spare_collections
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings


def main(stop: Stop) -> None:
    """Routes until it is told to stop."""
    router = Router(settings=BusSettings(), own=RouterSettings())
    spare_collections()
    while not stop:
        router.step()
    router.close()


if __name__ == "__main__":
    sys.exit(run_service(main))
