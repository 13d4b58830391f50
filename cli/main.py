"""`infaas`: one command, with a file for each thing it does."""

from __future__ import annotations

import typer

from infaas.cli import broker, dead_letters, doctor, explain, query, register, services, status, topics, up, variants

app = typer.Typer(
    name="infaas",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Model-less serving on Kafka: say what is needed, the system picks the model variant for every query.",
    epilog="First steps: `infaas up`, then in another terminal `infaas register`, `infaas query`, `infaas status`.",
)
app.command("up")(up.up)
app.add_typer(broker.app, name="broker")
app.command("register")(register.register)
app.command("unregister")(register.unregister)
app.command("query")(query.query)
app.command("variants")(variants.variants)
app.command("status")(status.status)
app.command("worker")(services.worker)
app.command("router")(services.router)
app.command("registrar")(services.registrar)
app.command("scaler")(services.scaler)
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dead-letters")
app.command("explain")(explain.explain)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
