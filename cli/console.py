"""Where commands print: figures and tables to standard output, what goes on and what is wrong to standard error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

from infaas.schemas.errors import InfaasError, KafkaUnavailable

P = ParamSpec("P")
R = TypeVar("R")
WIDE = 160  # where nobody's terminal sets a limit
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE)
NO_BROKER = "Start a cell with `infaas up`, or set INFAAS_BOOTSTRAP_SERVERS."


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Ends a command with a message instead of a stack trace: an error of ours says what to do next."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except InfaasError as error:
            err.print(f"[red]error[/] ({error.code}): {error}", highlight=False, soft_wrap=True)
            if isinstance(error, KafkaUnavailable):
                err.print(NO_BROKER, highlight=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            err.print("stopped")
            raise typer.Exit(130) from None

    return wrapped


def progress(message: str) -> None:
    """One line of what goes on."""
    err.print(f"[dim]·[/] {message}", highlight=False, soft_wrap=True)


def interactive() -> bool:
    """Whether somebody watches."""
    return sys.stdout.isatty()
