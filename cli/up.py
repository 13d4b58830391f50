"""`infaas up`: a whole cell on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from infaas.bus.cell import SERVERS, default_data_dir
from infaas.bus.repository import default_url
from infaas.bus.settings import BusSettings
from infaas.cli.console import progress, say, told
from infaas.cli.extras import BROKER, SERVICES, require
from infaas.cli.stack import Shape, Stack
from infaas.host.process import stop_on_signals
from infaas.schemas.errors import BadInput

NEXT = (
    "try, in another terminal: infaas doctor",
    "infaas register my-model --application my-app --model model.onnx --validation-set validation.npz --wait",
    "infaas status",
    "Ctrl-C stops everything",
)


@told
def up(
    workers: Annotated[int, typer.Option(min=0, help="How many workers to start.")] = 1,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of each worker; default: this machine's, divided.")
    ] = None,
    max_workers: Annotated[int, typer.Option(min=0, help="More workers that the scaler may start here.")] = 0,
    routers: Annotated[int, typer.Option(min=1, help="How many routers to start.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the embedded Kafka; default: the one it had last, else any."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for data and logs, which survive; default: the user's.")
    ] = None,
    idle_s: Annotated[float, typer.Option(min=0, help="Seconds that a model without work stays loaded.")] = 30.0,
) -> None:
    """Start Kafka, registrar, router, scaler and workers on this machine, and keep them running until Ctrl-C.

    With INFAAS_BOOTSTRAP_SERVERS set, that Kafka is used and none is started.

    Example: `infaas up --workers 2 --cores 2`
    """
    own_broker = not os.environ.get(SERVERS)
    if port is not None and not own_broker:
        raise BadInput("--port", f"nothing, for {SERVERS}={os.environ[SERVERS]} is used and no Kafka is started", port)
    require([*SERVICES, *(BROKER if own_broker else ())], "`infaas up`")
    stop = stop_on_signals()
    folder = data_dir or default_data_dir()
    stack = Stack(
        data_dir=folder,
        shape=Shape(workers, cores, max_workers, routers, idle_s),
        settings=BusSettings(),
        repository_url=default_url(),
        own_broker=own_broker,
        port=port,
        progress=progress,
    )
    with stack:
        progress(f"ready; logs are in {folder / 'logs'}")
        progress("for other programs and, after --data-dir, other terminals:")
        say(f"export {SERVERS}={stack.settings.bootstrap_servers}")
        for line in NEXT:
            progress(line)
        while not stop:
            for name in stack.step():
                progress(f"{name} had ended and was started again; see {folder / 'logs' / name}.log")
            time.sleep(0.1)
        progress("stopping")
    progress("stopped; nothing is left running")
