"""`python -m infaas.bench NAME`: one JSON line of ratios, measured side by side in one run."""

from __future__ import annotations

import argparse
import sys

import orjson

from infaas.bench.latency import latency
from infaas.cli.console import err
from infaas.schemas.errors import InfaasError

BENCHMARKS = {"latency": latency}


def main() -> int:
    """Runs one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m infaas.bench", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    try:
        found = BENCHMARKS[parser.parse_args().name]()
    except InfaasError as error:
        err.print(f"error ({error.code}): {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(orjson.dumps(found).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
