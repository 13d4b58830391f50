"""`python -m infaas.registrar.generate`: makes one artifact, and compares it with its source on the validation set.

A process of its own: a generator's libraries, the source and the validation set need far more memory than serving, and it is
serving that the build measures.
In: one line of JSON, {parent, generator, source, target, sample, sample_rows, validation, contract, engine, platform, cores}.
Out: one line, {accuracy, agreement}, {not_applicable} or {failed}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from infaas.host.process import die_with_parent
from infaas.registrar.accuracy import accuracy, predict, scored_rows
from infaas.registrar.check import LABELS, read_validation
from infaas.registrar.generators.generator import NotApplicable, generator
from infaas.schemas.contract import Contract
from infaas.schemas.errors import InfaasError

VALIDATION_BYTES = 4 * 1024**3


def generate(order: dict[str, Any]) -> dict[str, Any]:
    """Writes the artifact and a few rows to measure it with; returns accuracy and agreement, or what went wrong."""
    source, target = Path(order["source"]), Path(order["target"])
    try:
        generator(order["generator"]).generate(source, target)
        contract = Contract.model_validate(order["contract"])
        arrays = scored_rows(read_validation(Path(order["validation"]), limit=VALIDATION_BYTES))
        how = {"engine_name": order["engine"], "platform": order["platform"], "cores": order["cores"]}
        predicted = predict(target, contract, arrays, **how)
        before = predict(source, contract, arrays, **how)
    except NotApplicable as error:
        return {"not_applicable": str(error)}
    except InfaasError as error:
        return {"failed": str(error)}
    np.savez(order["sample"], *(arrays[spec.name][: order["sample_rows"]] for spec in contract.inputs))
    return {"accuracy": accuracy(predicted, arrays[LABELS]), "agreement": accuracy(predicted, before)}


def main() -> int:
    """Reads the order, prints what was found."""
    order = orjson.loads(sys.stdin.buffer.readline())
    die_with_parent(order["parent"])
    sys.stdout.buffer.write(b"\n" + orjson.dumps(generate(order)) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
