"""`infaas topics`: the cell's topics, against the table they are made from."""

from __future__ import annotations

import orjson
import typer

from infaas.bus.admin import Admin
from infaas.bus.cell import find_cell
from infaas.cli.console import out, progress, say, told
from infaas.cli.listing import Column, Listing
from infaas.schemas.topics import TOPICS

app = typer.Typer(no_args_is_help=True, help="The cell's topics.")


@app.command("list")
@told
def list_() -> None:
    """Show what each topic is for, and how many partitions it has here."""
    settings = find_cell()
    admin = Admin(settings, client_id="infaas-topics")
    try:
        admin.wait_for_broker()
        sizes = admin.topics()
    finally:
        admin.close()
    table = Listing(
        "",
        [
            Column("topic"), Column("partitions", 1, right=True), Column("key", 4, folds=14), Column("value", 5, folds=14),
            Column("writers", 2, folds=14), Column("readers", 3, folds=14),
        ],
    )  # fmt: skip
    for topic in TOPICS:
        if topic.per_variant:
            of_variants = {n: c for n, c in sizes.items() if n.startswith(f"{settings.topic_prefix}{topic.name}.")}
            shown, count = f"{settings.topic_prefix}{topic.name}.<variant>", f"{len(of_variants)} x {topic.partitions}+"
        else:
            shown = settings.names.of(topic)
            count = str(sizes.get(shown, "missing"))
        table.add(shown, count, topic.key, topic.value, topic.writers, topic.readers)
    out.print(table)


@app.command()
@told
def ensure() -> None:
    """Make the topics that are missing."""
    admin = Admin(find_cell(), client_id="infaas-topics")
    try:
        admin.wait_for_broker()
        made = admin.ensure_topics()
    finally:
        admin.close()
    progress("made " + ", ".join(made) if made else "all were there")


@app.command()
@told
def check() -> None:
    """Say what differs from the table; exit status 1 if anything does."""
    admin = Admin(find_cell(), client_id="infaas-topics")
    try:
        admin.wait_for_broker()
        wrong = admin.check_topics()
    finally:
        admin.close()
    for line in wrong:
        say(line)
    if wrong:
        progress("`infaas topics ensure` makes what is missing, `infaas topics repair` sets what differs")
        raise typer.Exit(1)
    progress("all is as it should be")


@app.command()
@told
def repair() -> None:
    """Set the topics' settings to what the table says."""
    admin = Admin(find_cell(), client_id="infaas-topics")
    try:
        admin.wait_for_broker()
        admin.repair_topics()
    finally:
        admin.close()
    progress("done")


@app.command()
@told
def asyncapi() -> None:
    """Print the AsyncAPI document of the control plane, as JSON.

    Example: `infaas topics asyncapi > asyncapi.json`
    """
    from infaas.bus.control import asyncapi_document

    document = asyncapi_document(find_cell())
    say(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
