"""One batch on an engine: stacked, run, checked, split.

An engine is somebody else's code. Whatever it raises, or gives that is no answer to what was asked, is an error of this batch,
and of the record alone once it runs by itself. Only an engine that does not run what it ran when it was loaded is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from infaas.engines import Engine
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.errors import EngineLost, InferenceFailed
from infaas.schemas.oip import DATATYPES, Array, InferRequest


class Runner:
    """Runs batches.

    Args:
        engine: loaded.
        contract: what goes in and has to come out.
    """

    def __init__(self, engine: Engine, contract: Contract) -> None:
        self._engine, self._contract = engine, contract

    def probe(self) -> None:
        """Runs one row of zeros: before the first query, which would pay for it, and to see whether the engine is still there.

        Raises:
            EngineLost: it does not run it.
        """
        zeros = {spec.name: _zeros(spec) for spec in self._contract.inputs}
        try:
            self._engine.run(zeros)
        except Exception as error:
            raise EngineLost(f"the engine does not run a row of zeros: {type(error).__name__}: {error}") from error

    def run(self, requests: Sequence[tuple[InferRequest, int]]) -> list[dict[str, Array]]:
        """Runs requests together, each with its number of rows; returns the outputs each asked for.

        Raises:
            InferenceFailed: the engine refused this batch, or gave what is no answer to it.
        """
        names = requests[0][0].inputs
        stacked = {
            name: np.concatenate([request.inputs[name] for request, _ in requests])
            if len(requests) > 1
            else requests[0][0].inputs[name]
            for name in names
        }
        total = sum(rows for _, rows in requests)
        outputs = self._checked(self._run(stacked), total)
        out = []
        at = 0
        for request, rows in requests:
            wanted = request.outputs or tuple(outputs)
            out.append({name: outputs[name][at : at + rows] for name in wanted})
            at += rows
        return out

    def _run(self, stacked: Mapping[str, Array]) -> object:
        try:
            return self._engine.run(stacked)
        except InferenceFailed:
            raise
        except Exception as error:
            raise InferenceFailed(f"{type(error).__name__}: {error}") from error

    def _checked(self, outputs: object, rows: int) -> dict[str, Array]:
        """What came out, with the datatypes of the contract: another precision of the same kind is made the one agreed on."""
        if not isinstance(outputs, Mapping):
            raise InferenceFailed(f"the engine gave a {type(outputs).__name__} in place of outputs by name")
        return {spec.name: _checked(spec, outputs.get(spec.name), rows) for spec in self._contract.outputs}


def _checked(spec: TensorSpec, output: object, rows: int) -> Array:
    if not isinstance(output, np.ndarray):
        raise InferenceFailed(f"the engine gave no array as output {spec.name!r}, but {type(output).__name__}")
    if output.ndim == 0 or output.shape[0] != rows:
        raise InferenceFailed(f"the engine gave output {spec.name!r} of shape {list(output.shape)} for {rows} rows")
    wanted = DATATYPES[spec.datatype]
    if output.dtype == wanted:
        return output
    if output.dtype.kind not in "biuf" or not np.can_cast(output.dtype, wanted, casting="same_kind"):
        raise InferenceFailed(f"the engine gave output {spec.name!r} as {output.dtype}, which is no {spec.datatype}")
    with np.errstate(all="ignore"):
        return output.astype(wanted)


def _zeros(spec: TensorSpec) -> Array:
    return np.zeros([1 if n < 0 else n for n in spec.shape], dtype=DATATYPES[spec.datatype])
