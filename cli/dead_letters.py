"""`infaas dead-letters`: what nobody could handle, why, and again from where it was."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from infaas.bus.cell import find_cell
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.cli.console import out, progress, say, told
from infaas.cli.letter import RETRIED, Letter, letters
from infaas.cli.listing import Column, Listing
from infaas.cli.topic_log import read_log
from infaas.schemas.errors import BadInput
from infaas.schemas.topics import DEAD_LETTERS

app = typer.Typer(no_args_is_help=True, help="Records that nobody could handle, with where they were and why.")
Number = Annotated[int, typer.Argument(min=0, help="Its number, as `infaas dead-letters list` shows it.")]
SHOWN_BYTES = 512
IN_A_LINE = 16


@app.command("list")
@told
def list_(
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List dead letters, the newest last.

    Example: `infaas dead-letters list`
    """
    everything = _letters(find_cell())
    newest = everything[-limit:]
    if json:
        for letter in newest:
            say(orjson.dumps(_plain(letter)).decode())
    elif newest:
        out.print(_table(newest))
        if len(newest) < len(everything):
            progress(f"{len(everything) - len(newest)} older ones are not shown; --limit shows more")
    else:
        progress("no dead letters")


@app.command()
@told
def show(number: Number) -> None:
    """Show one with its headers and its value, as JSON where it is JSON, else byte by byte.

    Example: `infaas dead-letters show 0`
    """
    letter = _letter(find_cell(), number)
    state = "; it was retried" if letter.retried else ""
    say(f"{letter.offset}  {letter.at:%Y-%m-%d %H:%M:%S} UTC  was {letter.position}, at stage {letter.stage}{state}")
    say(f"cause  {letter.cause}")
    if letter.key is not None:
        say(f"key    {letter.key.decode(errors='backslashreplace')}")
    for name, value in letter.headers:
        say(f"header {name}: {(value or b'').decode(errors='backslashreplace')}")
    cut = ", cut: the rest is missing" if letter.truncated else ""
    say(f"value  {len(letter.value)} bytes{cut}")
    for line in readable(letter.value):
        say(f"  {line}")


@app.command()
@told
def retry(
    number: Number, again: Annotated[bool, typer.Option("--again", help="Although it was retried before.")] = False
) -> None:
    """Produce one again to the topic it was in, as it was, and mark it here as retried.

    Example: `infaas dead-letters retry 0`
    """
    settings = find_cell()
    letter = _letter(settings, number)
    if letter.retried and not again:
        raise BadInput("number", "a dead letter that was not retried yet, or --again", number)
    if letter.truncated or not letter.value:
        raise BadInput(
            "number", f"one that is whole: this one's value is not; look for it at {letter.position}", number
        )
    if not letter.topic.startswith(settings.topic_prefix):
        raise BadInput("number", f"one that was in a topic of this cell ({settings.topic_prefix}*)", letter.position)
    mark = (RETRIED, str(letter.offset).encode())
    outbox = Outbox(settings, client_id="infaas-retry")
    try:
        outbox.send_and_wait(
            letter.topic,
            key=letter.key,
            value=letter.value,
            headers=[*letter.headers, mark],
            partition=letter.partition,
        )
        outbox.send_and_wait(settings.names.of(DEAD_LETTERS), key=letter.key, value=None, headers=[mark])
    finally:
        outbox.close()
    progress(f"produced again to {letter.topic}, partition {letter.partition}; {number} is marked as retried")


def readable(value: bytes) -> list[str]:
    """A value for people: indented JSON, else offsets, bytes and what is printable of them; cut where it is long."""
    try:
        lines = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode().splitlines()
    except orjson.JSONDecodeError:
        lines = [_hex(value, at) for at in range(0, min(len(value), SHOWN_BYTES), IN_A_LINE)]
        if len(value) > SHOWN_BYTES:
            lines.append(f"… {len(value) - SHOWN_BYTES} bytes more")
    return lines


def _hex(value: bytes, at: int) -> str:
    part = value[at : at + IN_A_LINE]
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
    return f"{at:08x}  {part.hex(' '):<{3 * IN_A_LINE}} {shown}"


def _letters(settings: BusSettings) -> list[Letter]:
    return letters(read_log(settings, settings.names.of(DEAD_LETTERS)))


def _letter(settings: BusSettings, number: int) -> Letter:
    for letter in _letters(settings):
        if letter.offset == number:
            return letter
    raise BadInput("number", "one that `infaas dead-letters list` shows", number)


def _table(shown: list[Letter]) -> Listing:
    table = Listing(
        "Dead letters",
        [
            Column("number", right=True), Column("at (UTC)", 2), Column("was"), Column("stage", 1),
            Column("cause", folds=20), Column("bytes", 3, right=True), Column("retried", 4),
        ],
    )  # fmt: skip
    for letter in shown:
        table.add(
            str(letter.offset), f"{letter.at:%m-%d %H:%M:%S}", letter.position, letter.stage, letter.cause,
            f"{len(letter.value)}{'+' if letter.truncated else ''}", "yes" if letter.retried else "",
        )  # fmt: skip
    return table


def _plain(letter: Letter) -> dict[str, object]:
    return {
        "number": letter.offset, "at": letter.at.isoformat(), "was": letter.position, "stage": letter.stage,
        "cause": letter.cause, "bytes": len(letter.value), "truncated": letter.truncated, "retried": letter.retried,
    }  # fmt: skip
