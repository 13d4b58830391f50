"""`infaas query`: one query, and who answered it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import orjson
import typer
from rich.text import Text

from infaas.bus.cell import find_cell
from infaas.cli.console import err, out, say, told
from infaas.cli.tables import replies_table
from infaas.client import Client, Reply
from infaas.schemas import oip
from infaas.schemas.errors import BadInput
from infaas.schemas.oip import Array

SHOWN = 10


@told
def query(
    tensor: Annotated[
        list[str] | None, typer.Option("--input", help="name=JSON or name=@file.npy; may be given many times.")
    ] = None,
    body: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A file with an Open Inference Protocol v2 request instead."),
    ] = None,
    application: Annotated[str | None, typer.Option(help="Reach any variant of this application.")] = None,
    architecture: Annotated[str | None, typer.Option(help="Reach any variant of this model.")] = None,
    variant: Annotated[str | None, typer.Option(help="Reach this variant alone.")] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(help="Milliseconds until the answer is there; default: offline, whenever there is room."),
    ] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Accuracy that it has to have at least, 0 to 1.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="USD that 1,000 such queries may cost.")] = None,
    optimize: Annotated[
        Literal["cost", "accuracy", "latency"], typer.Option(metavar="<str>", help="Prefer cost, accuracy or latency.")
    ] = "cost",
    strict: Annotated[bool, typer.Option("--strict/--no-strict", help="Refuse what can't be met.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the answer.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Send one query and show who answered, how quickly, how accurately and at what cost; exit status 1 if nobody did.

    Example: `infaas query --application digits --input image=@seven.npy --latency-ms 50 --min-accuracy 0.98`
    """
    scope = _scope(application=application, architecture=architecture, variant=variant)
    arrays = _arrays(tensor or [], body)
    with Client(find_cell()) as client:
        reply = client.infer(
            scope.get("application"), arrays, architecture=scope.get("architecture"), variant=scope.get("variant"),
            latency_ms=latency_ms, min_accuracy=min_accuracy, max_cost=max_cost, optimize=optimize, strict=strict, timeout=timeout,
            raise_for_outcome=False,
        )  # fmt: skip
    _show(reply, json=json)
    if reply.outcome != "ok":
        raise typer.Exit(1)


def _scope(**given: str | None) -> dict[str, str]:
    """What the query may reach.

    Raises:
        BadInput: if nothing is said, or more than one thing.
    """
    named = {option: name for option, name in given.items() if name is not None}
    if len(named) != 1:
        options = ", ".join(f"--{option}" for option in given)
        raise BadInput("query", f"exactly one of {options}", [f"--{option}" for option in named])
    return named


def _show(reply: Reply, *, json: bool) -> None:
    if json:
        say(orjson.dumps(_plain(reply), option=orjson.OPT_SERIALIZE_NUMPY).decode())
        return
    out.print(replies_table([(Text(), reply)]))
    for name, array in reply.outputs.items():
        rows = np.array2string(array[:SHOWN], precision=4, threshold=200)
        say(f"{name} {list(array.shape)} {rows}")


def _arrays(tensors: list[str], body: Path | None) -> dict[str, Array]:
    if body is not None:
        if tensors:
            raise BadInput("input", "either --input or --body", tensors)
        return dict(oip.decode_request(body.read_bytes()).inputs)
    if not tensors:
        err.print("nothing to send: say --input name=... or --body file", highlight=False)
        raise typer.Exit(2)
    return dict(_array(tensor) for tensor in tensors)


def _array(text: str) -> tuple[str, Array]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadInput("input", "name=JSON or name=@file.npy", text)
    if value.startswith("@"):
        try:
            return name, np.load(value[1:], allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadInput(f"input.{name}", "an .npy file", str(error)) from None
    try:
        values = np.asarray(orjson.loads(value))
    except (orjson.JSONDecodeError, ValueError) as error:
        raise BadInput(f"input.{name}", "a JSON list of numbers", str(error)) from None
    # Numbers in JSON have no width; nearly all models take 32-bit floats.
    return name, values.astype(np.float32) if values.dtype.kind == "f" else values


def _plain(reply: Reply) -> dict[str, object]:
    names = ("outcome", "query_id", "architecture", "variant", "worker", "accuracy", "queue_ms", "inference_ms", "batch_size",
             "cost", "objective_met", "reason", "message", "suggestion", "latency_ms")  # fmt: skip
    return {name: getattr(reply, name) for name in names} | {
        "outputs": {k: a.tolist() for k, a in reply.outputs.items()}
    }
