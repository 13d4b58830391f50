"""`python -m infaas.registrar.generate`: makes one artifact, and compares it with its source on the validation set.

A process of its own: a generator's libraries, the source and the validation set need far more memory than serving, and it is
serving that the build measures.
In: one line of JSON, {parent, generator, source, target, sample, sample_rows, validation, contract, engine, platform, cores}.
Out: one line, {accuracy, agreement, changed_by}, {not_applicable}, {failed} or {no_room}; `changed_by` says what beside a row
changes its answer, and is empty if nothing does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from infaas.host.limits import has_room, lacks_memory, lacks_room, told
from infaas.host.process import die_with_parent
from infaas.registrar.accuracy import BATCH, accuracy, loaded_engine, predictions, scored_rows
from infaas.registrar.check import LABELS, read_validation
from infaas.registrar.generators.generator import NotApplicable, generator
from infaas.registrar.invariance import changed_by
from infaas.schemas.contract import Contract
from infaas.schemas.errors import InfaasError

LIMIT = "INFAAS_WORKER_BUILD_LIMIT_BYTES"
VALIDATION_BYTES = 4 * 1024**3


def generate(order: dict[str, Any]) -> dict[str, Any]:
    """Writes the artifact and a few rows to measure it with; returns accuracy and agreement, or what went wrong."""
    try:
        return _generate(order)
    except Exception as error:
        # A library that can't write what it makes says what it likes, or nothing until the file is read again.
        if lacks_room(error) or not has_room(Path(order["target"]).parent, Path(order["source"]).stat().st_size):
            return {"no_room": str(error)}
        if isinstance(error, NotApplicable) and not lacks_memory(error):
            return {"not_applicable": str(error)}
        if isinstance(error, InfaasError | MemoryError):
            return {"failed": told(error, LIMIT)}
        raise


def _generate(order: dict[str, Any]) -> dict[str, Any]:
    source, target = Path(order["source"]), Path(order["target"])
    generator(order["generator"]).generate(source, target)
    contract = Contract.model_validate(order["contract"])
    arrays = scored_rows(read_validation(Path(order["validation"]), limit=VALIDATION_BYTES))
    engine = {"engine_name": order["engine"], "platform": order["platform"], "cores": order["cores"]}
    with loaded_engine(target, **engine) as variant:
        changed = changed_by(variant, contract, arrays) if order["sample_rows"] > 1 else ""
        batch = 1 if changed else BATCH  # scored as it will serve
        predicted = predictions(variant, contract, arrays, batch=batch)
    with loaded_engine(source, **engine) as original:
        before = predictions(original, contract, arrays)
    np.savez(order["sample"], *(arrays[spec.name][: order["sample_rows"]] for spec in contract.inputs))
    return {
        "accuracy": accuracy(predicted, arrays[LABELS]),
        "agreement": accuracy(predicted, before),
        "changed_by": changed,
    }


def main() -> int:
    """Reads the order, prints what was found."""
    order = orjson.loads(sys.stdin.buffer.readline())
    die_with_parent(order["parent"])
    sys.stdout.buffer.write(b"\n" + orjson.dumps(generate(order)) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
