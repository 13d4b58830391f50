"""Accuracy, computed on the validation set: never typed in.

Prediction of a row = the first integer output of shape [rows] or [rows, 1], else the index of the largest of the first float
output of shape [rows, classes]. Metric `accuracy` = share of rows whose prediction is the label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from infaas.engines import Engine, engine
from infaas.registrar.check import LABELS, PREDICTION
from infaas.schemas.contract import Contract
from infaas.schemas.errors import BadModel
from infaas.schemas.oip import Array

CALIBRATION_ROWS = 64
"""At most; never more than a fifth."""
SEED = 0
BATCH = 32


def scored_rows(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The rows all variants are scored on: what is left after calibration rows are split off."""
    rows = len(arrays[LABELS])
    order = np.random.default_rng(SEED).permutation(rows)
    kept = np.sort(order[min(CALIBRATION_ROWS, rows // 5) :])
    return {name: array[kept] for name, array in arrays.items()}


@contextmanager
def loaded_engine(path: Path, *, engine_name: str, platform: str, cores: int) -> Iterator[Engine]:
    """An artifact in an engine that is loaded for this alone."""
    loaded = engine(engine_name)
    loaded.load(path, platform=platform, cores=cores)
    try:
        yield loaded
    finally:
        loaded.close()


def predictions(loaded: Engine, contract: Contract, arrays: Mapping[str, Array], *, batch: int = BATCH) -> Array:
    """Predictions of a loaded engine, `[rows]` int64, `batch` rows at a time."""
    rows = len(arrays[LABELS])
    parts = [_labels(contract, loaded.run(piece)) for piece in batches(contract, arrays, rows, batch)]
    return np.concatenate(parts).astype(np.int64)


def batches(contract: Contract, arrays: Mapping[str, Array], rows: int, size: int) -> Iterator[dict[str, Array]]:
    """Inputs in pieces of at most `size` rows."""
    for start in range(0, rows, size):
        yield {spec.name: np.ascontiguousarray(arrays[spec.name][start : start + size]) for spec in contract.inputs}


def accuracy(predicted: Array, labels: Array) -> float:
    """Share of rows predicted as labelled."""
    return float(np.mean(predicted == labels))


def _labels(contract: Contract, outputs: Mapping[str, Any]) -> Array:
    arrays = [np.asarray(outputs[spec.name]) for spec in contract.outputs if spec.name in outputs]
    for array in arrays:
        if array.dtype.kind in "iu" and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
            return array.reshape(len(array))
    for array in arrays:
        if array.dtype.kind == "f" and array.ndim == 2:
            return np.asarray(array.argmax(axis=1))
    raise BadModel(
        "artifact.outputs",
        PREDICTION,
        [f"{array.dtype}{list(array.shape)}" for array in arrays],
    )
