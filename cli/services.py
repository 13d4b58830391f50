"""`infaas worker|router|registrar|scaler`: one service in the foreground, set up by the environment."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from infaas.bus.cell import SERVERS, find_cell
from infaas.cli.console import told

Servers = Annotated[str | None, typer.Option(help="Kafka, host:port,... (INFAAS_BOOTSTRAP_SERVERS).")]
Prefix = Annotated[str | None, typer.Option(help="Before every topic's name (INFAAS_TOPIC_PREFIX).")]


@told
def worker(
    name: Annotated[str | None, typer.Option(help="In the cell (INFAAS_WORKER_NAME); default: the host's.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="It may use (INFAAS_WORKER_CORES); default: all.")] = None,
    bootstrap_servers: Servers = None,
    topic_prefix: Prefix = None,
) -> None:
    """Run the supervisor of this machine: it starts and stops instances as the scaler places them.

    Example: `infaas worker --name gpu-1 --bootstrap-servers kafka:9092`
    """
    _set(INFAAS_WORKER_NAME=name, INFAAS_WORKER_CORES=cores)
    _cell(bootstrap_servers, topic_prefix)
    # In this process's place: what the command line has imported has threads, and is nothing that instances need.
    os.execv(sys.executable, [sys.executable, "-m", "infaas.workers"])  # noqa: S606 - no shell is wanted


@told
def router(bootstrap_servers: Servers = None, topic_prefix: Prefix = None) -> None:
    """Run one router; start as many as the load needs, they share the queries.

    Example: `infaas router --bootstrap-servers kafka:9092`
    """
    _cell(bootstrap_servers, topic_prefix)
    from infaas.host.process import run_service
    from infaas.router.__main__ import main

    raise typer.Exit(run_service(main))


@told
def registrar(bootstrap_servers: Servers = None, topic_prefix: Prefix = None) -> None:
    """Run one registrar; a second one stands by.

    Example: `infaas registrar --bootstrap-servers kafka:9092`
    """
    _cell(bootstrap_servers, topic_prefix)
    from infaas.host.process import run_service
    from infaas.registrar.__main__ import main

    raise typer.Exit(run_service(main))


@told
def scaler(bootstrap_servers: Servers = None, topic_prefix: Prefix = None) -> None:
    """Run one scaler; a second one stands by.

    Example: `infaas scaler --bootstrap-servers kafka:9092`
    """
    _cell(bootstrap_servers, topic_prefix)
    from infaas.host.process import run_service
    from infaas.scaler.__main__ import main

    raise typer.Exit(run_service(main))


def _cell(servers: str | None, prefix: str | None) -> None:
    """Services read their settings from the environment; so what was said here goes there."""
    _set(INFAAS_TOPIC_PREFIX=prefix)
    if servers or SERVERS not in os.environ:
        cell = find_cell()
        os.environ.setdefault("INFAAS_SESSION_TIMEOUT_MS", str(cell.session_timeout_ms))
        os.environ[SERVERS] = servers or cell.bootstrap_servers


def _set(**values: object) -> None:
    for name, value in values.items():
        if value is not None:
            os.environ[name] = str(value)
