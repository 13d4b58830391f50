"""`python -m infaas.bench NAME`: one JSON line; what is going on goes to standard error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypeAlias

import orjson

from infaas.bench.admission import QUERIES, admission
from infaas.bench.chaos import report
from infaas.bench.chaos.run import chaos
from infaas.bench.hostile import hostile
from infaas.bench.latency import latency
from infaas.bench.path import path
from infaas.bench.router import router
from infaas.bench.router_loop import TURNS
from infaas.bench.worker.run import worker
from infaas.cli.console import err
from infaas.schemas.errors import InfaasError

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main() -> int:
    """Runs one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m infaas.bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_speed(commands)
    _add_faults(commands)
    given = parser.parse_args()
    try:
        figures = given.run(given)
    except InfaasError as error:
        err.print(f"error ({error.code}): {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")
    return 0


def _add_speed(commands: _Commands) -> None:
    commands.add_parser("latency", help="ratios to a plain echo").set_defaults(run=lambda _: latency())
    way = commands.add_parser("path", help="the whole way of a query, as ratios to a plain pipeline and to a bare loop")
    way.add_argument("--turns", type=int, default=4, help="of each side")
    way.set_defaults(run=lambda given: path(turns=given.turns))
    room = commands.add_parser("admission", help="what is refused, or late, of what the scaler calls usable; simulated")
    room.add_argument("--queries", type=int, default=QUERIES, help="of those in a hurry, each case")
    room.add_argument("--seed", type=int, default=0)
    room.set_defaults(run=lambda given: admission(queries=given.queries, seed=given.seed))
    alone = commands.add_parser(
        "router", help="the router alone: choices at scale, its loop beside a bare one, fairness"
    )
    alone.add_argument("--turns", type=int, default=TURNS, help="of each loop")
    alone.set_defaults(run=lambda given: router(turns=given.turns))
    commands.add_parser(
        "worker",
        help="overload, starts, hand-overs, memory and an idle cell: what a worker does beside a query's path",
        epilog="Example: python -m infaas.bench worker 2> progress > worker.json (three and a half minutes)",
    ).set_defaults(run=lambda _: worker())


def _add_faults(commands: _Commands) -> None:
    attack = commands.add_parser("hostile", help="hostile records between good ones")
    attack.add_argument("--seed", type=int, default=0)
    attack.add_argument("--count", type=int, default=10_000, help="hostile records")
    attack.set_defaults(run=lambda given: hostile(given.seed, given.count))
    matrix = commands.add_parser("chaos", help="the fault matrix")
    matrix.add_argument("--seed", type=int, default=0)
    matrix.add_argument(
        "--cells", default="", help="beginnings of the names of those to run, by commas: router/SIGKILL,broker"
    )
    matrix.add_argument("--minutes", type=float, default=60.0, help="after so many no cell is begun")
    matrix.add_argument("--timeline", action="store_true", help="tells what happened around each fault")
    matrix.add_argument("--write", type=Path, metavar="PAGE", help="writes the table to this page, docs/faults.md")
    matrix.set_defaults(run=_chaos)


def _chaos(given: argparse.Namespace) -> dict[str, object]:
    chosen = [name for name in given.cells.split(",") if name]
    cells = chaos(seed=given.seed, cells=chosen, minutes=given.minutes, timelines=given.timeline)
    err.print(report.table(cells), highlight=False, markup=False, soft_wrap=True)
    if given.write:
        given.write.write_text(report.page(cells, seed=given.seed))
    return report.figures(cells)


if __name__ == "__main__":
    sys.exit(main())
