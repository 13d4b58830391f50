"""`infaas`: one command, with a file for each thing it does."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, ClassVar

import typer

from infaas.cli.lazy import LazyGroup


class Commands(LazyGroup):
    """All there are: a file of this folder that is no command's is not listed here."""

    places: ClassVar = {
        "up": "infaas.cli.up:up",
        "broker": "infaas.cli.broker:app",
        "register": "infaas.cli.register:register",
        "unregister": "infaas.cli.register:unregister",
        "query": "infaas.cli.query:query",
        "variants": "infaas.cli.variants:variants",
        "status": "infaas.cli.status:status",
        "worker": "infaas.cli.services:worker",
        "router": "infaas.cli.services:router",
        "registrar": "infaas.cli.services:registrar",
        "scaler": "infaas.cli.services:scaler",
        "topics": "infaas.cli.topics:app",
        "dead-letters": "infaas.cli.dead_letters:app",
        "explain": "infaas.cli.explain:explain",
        "doctor": "infaas.cli.doctor:doctor",
    }


app = typer.Typer(
    name="infaas",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Model-less serving on Kafka: say what is needed, the system picks the model variant for every query.",
    epilog="First steps: `infaas up`, then in another terminal `infaas register`, `infaas query`, `infaas status`.",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"infaas {version('infaas')}")
        raise typer.Exit


@app.callback()
def infaas(
    asked: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Does nothing but to take options that are no command's."""


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
