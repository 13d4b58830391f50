"""`infaas variants`: what was made of the registered models, and what was measured."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from infaas.bus.cell import find_cell
from infaas.cli.console import out, progress, say, told
from infaas.cli.hindrances import hindrances
from infaas.cli.tables import variants_table
from infaas.store.table import Table
from infaas.store.view import View


def read_view(client_id: str = "infaas-cli") -> View:
    """The metadata now.

    Raises:
        KafkaUnavailable: if no broker answers.
    """
    table = Table(find_cell(), client_id=client_id)
    table.open(timeout=10.0)
    try:
        return table.view()
    finally:
        table.close()


@told
def variants(
    application: Annotated[str | None, typer.Option(help="Of this application only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Rejected, failed and retired ones too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List model variants with accuracy, latency, capacity, memory, load time and price.

    Example: `infaas variants --application digits`
    """
    view = read_view()
    shown = [
        v
        for v in view.variants.values()
        if (application is None or v.application == application)
        and (everything or v.state not in ("rejected", "failed", "retired"))
    ]
    if json:
        for variant in shown:
            say(orjson.dumps(variant.model_dump(mode="json")).decode())
    elif shown:
        out.print(variants_table(shown, hindrances(view)))
    else:
        progress("no variants; `infaas register` makes some")
