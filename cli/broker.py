"""`infaas broker`: the embedded Kafka by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infaas.bus.cell import default_data_dir
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.embedded.state import BrokerState
from infaas.cli.console import progress, say, told
from infaas.schemas.errors import EmbeddedBrokerError

app = typer.Typer(no_args_is_help=True, help="The embedded Kafka: real Apache Kafka, nothing to install.")
DataDir = Annotated[Path | None, typer.Option(help="The folder given to `infaas up --data-dir`; default: the user's.")]


@app.command()
@told
def start(
    data_dir: DataDir = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1; default: the one it had last, else any.")
    ] = None,
) -> None:
    """Start it in the background.

    Example: `infaas broker start --port 9092`
    """
    folder = _folder(data_dir)
    state = BrokerState.read(folder)
    if state is None:
        broker = EmbeddedBroker.start(data_dir=folder, port=port, detached=True, progress=progress)
        say(broker.bootstrap_servers)
    elif port not in (None, state.port):
        raise EmbeddedBrokerError(
            f"it runs already, at {state.bootstrap_servers}: `infaas broker stop` stops it, then say --port {port} again"
        )
    else:
        progress("it runs already")
        say(state.bootstrap_servers)


@app.command()
@told
def stop(data_dir: DataDir = None) -> None:
    """Stop it; its data stays."""
    state = BrokerState.read(_folder(data_dir))
    if state is None:
        progress("it does not run")
        return
    state.stop()
    progress("stopped")


@app.command()
@told
def status(data_dir: DataDir = None) -> None:
    """Say where it is; exit status 1 if it does not run."""
    state = BrokerState.read(_folder(data_dir))
    if state is None:
        progress("it does not run; `infaas broker start` starts it")
        raise typer.Exit(1)
    say(f"{state.bootstrap_servers}  process {state.java}  data {state.data_dir}")


def _folder(data_dir: Path | None) -> Path:
    return (data_dir or default_data_dir()) / "kafka"
