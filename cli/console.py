"""Where commands print: figures and tables to standard output, what goes on and what is wrong to standard error.

What is printed here is data, never markup: a message that has `[-1]` in it arrives with `[-1]` in it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from infaas.bus.cell import SERVERS, find_cell
from infaas.schemas.errors import InfaasError, KafkaUnavailable

P = ParamSpec("P")
R = TypeVar("R")
WIDE = 160  # where nobody's terminal sets a limit
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE)


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Ends a command with a message instead of a stack trace: an error of ours says what to do next."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except InfaasError as error:
            complain(f"error ({error.code}): {error}")
            if isinstance(error, KafkaUnavailable):
                tried = find_cell().bootstrap_servers
                if tried not in str(error):
                    err.print(f"Tried {tried}. Start a cell with `infaas up`, or set {SERVERS}.", highlight=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            err.print("stopped")
            raise typer.Exit(130) from None

    return wrapped


def say(line: str) -> None:
    """A line for standard output, as it is: neither wrapped nor read as markup."""
    out.print(Text(line), soft_wrap=True)


def progress(message: str) -> None:
    """One line of what goes on."""
    err.print(Text.assemble(("· ", "dim"), message), soft_wrap=True)


def complain(message: str) -> None:
    """One line of what is wrong: its first word is marked."""
    first, space, rest = message.partition(" ")
    err.print(Text.assemble((first, "red"), space + rest), soft_wrap=True)


def interactive() -> bool:
    """Whether somebody watches."""
    return sys.stdout.isatty()
