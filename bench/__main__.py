"""`python -m infaas.bench NAME`: one JSON line; what is going on goes to standard error."""

from __future__ import annotations

import argparse
import sys

import orjson

from infaas.bench.hostile import hostile
from infaas.bench.latency import latency
from infaas.cli.console import err
from infaas.schemas.errors import InfaasError


def main() -> int:
    """Runs one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m infaas.bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("latency", help="ratios to a plain echo").set_defaults(run=lambda _: latency())
    attack = commands.add_parser("hostile", help="hostile records between good ones")
    attack.add_argument("--seed", type=int, default=0)
    attack.add_argument("--count", type=int, default=10_000, help="hostile records")
    attack.set_defaults(run=lambda given: hostile(given.seed, given.count))
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


if __name__ == "__main__":
    sys.exit(main())
