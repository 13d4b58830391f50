"""A table that fits where it is printed: the one place that decides what is left out, and says so.

Columns have a rank. Where there is not enough room the columns ranked last go, one by one, until the others fit without being
cut; those of rank 0 stay whatever happens, and so does the last there is: they fold. Cells are data, never markup: what has a style
comes as `Text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

Cell = str | Text
PADDING = 3  # a blank on each side, and the rule between columns


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    rank: int = 0
    """0 = always shown; else the higher, the sooner it is left out."""
    right: bool = False
    folds: int = 0
    """The characters in which a long text can still be read, broken over lines; 0 = first lines stay whole, only a cell's
    second and later lines are broken."""


@dataclass(slots=True)
class Listing:
    """Rows under columns; prints itself at any width."""

    title: str
    columns: Sequence[Column]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """One row, a cell a column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def shown(self, width: int) -> list[int]:
        """Indices of the columns that fit into a width."""
        kept = list(range(len(self.columns)))
        while _room(self._need(at) for at in kept) > width:
            last = max(kept, key=lambda at: (self.columns[at].rank, at))
            if self.columns[last].rank == 0 or len(kept) == 1:
                break
            kept.remove(last)
        return kept

    def widths(self, kept: Sequence[int], width: int) -> dict[int, int]:
        """Characters each column gets: what it needs, then what is left over; where even that is too much, the widest fold."""
        given = {at: self._need(at) for at in kept}
        spare = width - _room(given.values())
        for at in kept:
            more = min(max(spare, 0), self._longest(at) - given[at])
            given[at] += more
            spare -= more
        while spare < 0 and max(given.values()) > 1:
            given[max(given, key=lambda at: given[at])] -= 1
            spare += 1
        return given

    def _need(self, at: int) -> int:
        """Characters without which a column can't be read: its first lines, or, of one that folds, a few words."""
        column = self.columns[at]
        first = max([len(column.name), *(len(_lines(row[at])[0]) for row in self.rows)])
        return min(first, column.folds) if column.folds else first

    def _longest(self, at: int) -> int:
        return max([len(self.columns[at].name), *(len(line) for row in self.rows for line in _lines(row[at]))])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        kept = self.shown(options.max_width)
        table = Table(title=Text(self.title) if self.title else None, title_justify="left", header_style="bold")
        for at, width in self.widths(kept, options.max_width).items():
            column = self.columns[at]
            justify: Literal["right", "left"] = "right" if column.right else "left"
            table.add_column(Text(column.name), justify=justify, overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*(_text(row[at]) for at in kept))
        yield table
        dropped = [column.name for at, column in enumerate(self.columns) if at not in kept]
        if dropped:
            yield Text(f"not shown at this width: {', '.join(dropped)}", style="dim")


def _room(widths: Iterable[int]) -> int:
    """Characters of a whole line, rules and blanks included."""
    return sum(width + PADDING for width in widths) + 1


def _lines(cell: Cell) -> list[str]:
    return (cell.plain if isinstance(cell, Text) else cell).splitlines() or [""]


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
