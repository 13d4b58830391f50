"""`python -m infaas.registrar.generate`: makes one artifact, and runs the source once for comparison.

A process of its own: a generator's libraries need far more memory than serving, and it is serving that the build measures.
In: one line of JSON, {generator, source, target, predictions, validation, validation_limit, engine, platform, cores}.
Out: one line, {} or {not_applicable} or {failed}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from infaas.registrar.accuracy import predict, scored_rows
from infaas.registrar.check import read_validation
from infaas.registrar.generators.generator import NotApplicable, generator
from infaas.schemas.contract import Contract
from infaas.schemas.errors import InfaasError


def generate(order: dict[str, Any]) -> dict[str, str]:
    """Writes artifact and predictions; returns what went wrong, if anything."""
    source, target = Path(order["source"]), Path(order["target"])
    try:
        generator(order["generator"]).generate(source, target)
        contract = Contract.model_validate(order["contract"])
        arrays = read_validation(Path(order["validation"]), limit=order["validation_limit"])
        predictions = predict(
            source,
            contract,
            scored_rows(arrays),
            engine_name=order["engine"],
            platform=order["platform"],
            cores=order["cores"],
        )
        np.save(order["predictions"], predictions)
    except NotApplicable as error:
        return {"not_applicable": str(error)}
    except InfaasError as error:
        return {"failed": str(error)}
    return {}


if __name__ == "__main__":
    found = generate(orjson.loads(sys.stdin.buffer.readline()))
    sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
