"""`infaas register` and `infaas unregister`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from infaas.bus.cell import find_cell
from infaas.bus.settings import BusSettings
from infaas.cli.console import err, out, progress, told
from infaas.cli.tables import variants_table
from infaas.client import Client, Registered, follow
from infaas.schemas.errors import AlreadyRegistered, Rejected
from infaas.schemas.metadata import Variant

OPEN = frozenset({"planned", "building"})
INTERRUPTED = 130


@told
def register(
    architecture: Annotated[str, typer.Argument(help="Its name: [a-z0-9][a-z0-9-]{0,59}.")],
    application: Annotated[
        str, typer.Option(help="What it is for; models of one application answer the same queries.")
    ],
    model: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="An ONNX file whose inputs have a free first axis (rows).")
    ],
    validation_set: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="An .npz file: arrays named as the inputs, and `labels`.")
    ],
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a class, in their order; given once for each.")
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, max=1024, help="Largest batch to measure and to form.")] = 64,
    generator: Annotated[
        list[str] | None,
        typer.Option(help="How to make variants: onnx, int8; may be given many times; default: all that apply."),
    ] = None,
    cores: Annotated[
        list[int] | None,
        typer.Option(help="A core count to make variants for; may be given many times; default: 1 and 2."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until its variants are ready.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the variants.")] = 1800.0,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of another model of this name.")] = False,
) -> None:
    """Register a trained model: variants of it are made, checked and measured.

    Example: `infaas register svc --application digits --model svc.onnx --validation-set validation.npz --wait`
    """
    settings = find_cell()
    try:
        with Client(settings) as client:
            send = partial(
                client.register,
                architecture,
                application=application,
                model=model,
                validation_set=validation_set,
                labels=tuple(label or ()),
                max_batch=max_batch,
                generators=tuple(generator) if generator else None,
                cores=tuple(cores) if cores else None,
            )
            registered = _send(send, replace=replace)
        progress(_line(registered))
        if wait:
            out.print(variants_table(watch(settings, [registered], timeout=timeout)))
        else:
            progress("`infaas variants` shows what becomes of it")
    except KeyboardInterrupt:
        progress(
            f"no longer watched; the registration of {architecture} goes on without you: `infaas variants` and `infaas status` "
            f"follow it, `infaas unregister {architecture}` ends it"
        )
        raise typer.Exit(INTERRUPTED) from None


def _send(send: Callable[..., Registered], *, replace: bool) -> Registered:
    """Sends the command; where another model has the name, whoever is there decides, and where nobody is, nothing is replaced.

    Raises:
        Rejected: if the registrar refuses it.
    """
    try:
        return send(replace=replace)
    except Rejected as error:
        if error.code != AlreadyRegistered.code:
            raise
        if not sys.stdin.isatty():
            raise Rejected(error.code, f"{error}. Say --replace, or take another name") from None
        progress(str(error))
    typer.confirm("Replace it?", abort=True, err=True)
    return send(replace=True)


def _line(registered: Registered) -> str:
    line = f"{registered.architecture} version {registered.version}: {registered.state}"
    if registered.replaced is None:
        return line
    return f"{line}; it takes the place of version {registered.replaced} when its variants are ready"


@told
def unregister(architecture: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Retire a model: what is on its way is answered, then its variants go. Its name can be registered again.

    Example: `infaas unregister svc`
    """
    with Client(find_cell()) as client:
        retired = client.unregister(architecture)
    progress(_line(retired))


def watch(settings: BusSettings, registered: list[Registered], *, timeout: float = 1800.0) -> list[Variant]:
    """Shows progress until all are ready; returns their variants.

    Raises:
        BadModel: if one failed, with the reason.
        QueryTimeout: if it takes longer than `timeout` s.
    """
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
        console=err,
    )  # fmt: skip
    last: list[Variant] = []
    with bar:
        tasks = {
            registration.architecture: bar.add_task(f"{registration.architecture}: waiting", total=None)
            for registration in registered
        }
        for registration in registered:
            variants: tuple[Variant, ...] = ()
            for now in follow(settings, registration.architecture, registration.version, timeout=timeout):
                variants = now.variants
                _show(
                    bar,
                    tasks[registration.architecture],
                    registration.architecture,
                    now.architecture.state,
                    variants,
                    now.measured,
                )
            last += variants
    return last


def _show(bar: Progress, task: TaskID, name: str, state: str, variants: tuple[Variant, ...], measured: object) -> None:
    done = sum(v.state not in OPEN for v in variants)
    at_work = [v.variant.rpartition(".")[2] for v in variants if v.state == "building"]
    activity = f"measuring {', '.join(at_work)}" if at_work and state == "building" else state
    assert isinstance(measured, dict)
    points = sum(len(measured.get(v.variant, ())) for v in variants if v.state == "building")
    bar.update(
        task,
        completed=done,
        total=len(variants) or None,
        description=f"{name}: {activity}" + (f", {points} points" if points else ""),
    )
