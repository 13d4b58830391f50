"""`python -m infaas.workers`: the supervisor of this machine, and the instances that are copied from its fork server."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

from infaas.bus.settings import BusSettings
from infaas.host.forkserver import ForkServer
from infaas.host.process import Stop, run_service
from infaas.schemas.errors import Fenced
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

IMPORTED = ("infaas.workers.serve", "fsspec.implementations.local")
"""What an instance needs, but for its engine's library: those start threads when they are loaded."""


def main(stop: Stop, server: ForkServer | None = None) -> None:
    """Runs until it is told to stop, or another supervisor has our name."""
    supervisor = Supervisor(settings=BusSettings(), own=WorkerSettings(), server=server)
    try:
        while not stop:
            supervisor.step()
    except Fenced:
        supervisor.abandon()
        raise
    supervisor.close()


def run() -> int:
    """A supervisor, and again each instance that starts as a copy; returns the exit status."""
    server = ForkServer.fork(IMPORTED)
    if isinstance(server, str):
        return run_service(import_module(server).main)
    return run_service(partial(main, server=server))


if __name__ == "__main__":
    sys.exit(run())
