"""Commands that are imported when they are asked for: starting one doesn't pay for what the others need.

`--help` of the group imports all of them, since it says what each is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

Command = Any
"""Of typer's own copy of click, which has no public name."""


class LazyCommands(MutableMapping[str, Command]):
    """Commands by name, in their order.

    Args:
        places: of each, as `module:attribute` of a function or of a group of its own.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._entries: dict[str, str | Command] = dict(places)

    def __getitem__(self, name: str) -> Command:
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = _imported(name, entry)
        return entry

    def __setitem__(self, name: str, command: Command) -> None:
        self._entries[name] = command

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class LazyGroup(TyperGroup):
    """A group of lazy commands; its subclass says where they are."""

    places: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands(self.places)


def _imported(name: str, place: str) -> Command:
    module, _, attribute = place.partition(":")
    command = getattr(import_module(module), attribute)
    if isinstance(command, typer.Typer):
        group = typer.main.get_group(command)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
    single.command(name)(command)
    return typer.main.get_command(single)
