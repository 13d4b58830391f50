"""Whether a caller's input can change another caller's answer, by standing in the same batch.

A row's answer beside copies of itself is compared with its answer beside hostile rows, in a batch of the same shape: the same
kernels run, so what differs is what the neighbours did. What a variant's answers differ by between a batch of one and a batch of
copies is its own tolerance: there nobody's input but the row's own is at work.
A neighbour that the engine refuses changes nothing: then each query is run by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infaas.engines import Engine
from infaas.schemas.contract import Contract
from infaas.schemas.errors import InferenceFailed
from infaas.schemas.oip import Array

ROWS = 4
"""Rows of the validation set that are tried, spread over it."""
BATCH = 3
"""The row stands in the middle: neighbours before it and behind it."""
ROUNDING = 1e-5
"""Of the largest value of an output: below it, single precision has nothing to say."""
FLOATS: Mapping[str, float] = {"0": 0.0, "1e4": 1e4, "NaN": float("nan"), "Inf": float("inf")}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the other rows hold: in inputs of one kind this value, in the others what the row itself holds."""

    name: str
    kinds: str
    value: Any

    def beside(self, array: Array) -> Array:
        """A row of this kind, as long as `array`'s."""
        if array.dtype.kind not in self.kinds:
            return array
        if array.dtype.kind == "f":
            return np.full_like(array, self.value)
        limits = np.iinfo(array.dtype)
        return np.full_like(array, {"0": 0, "smallest": limits.min, "largest": limits.max}[self.value])


NEIGHBOURS = (
    *(Neighbour(f"rows of {name}", "f", value) for name, value in FLOATS.items()),
    *(Neighbour(f"rows of the {name} integer", "iu", name) for name in ("smallest", "largest")),
    Neighbour("rows of 0", "iu", "0"),
)


def changed_by(loaded: Engine, contract: Contract, arrays: Mapping[str, Array]) -> str:
    """What beside a row changes its answer; empty if nothing does.

    Args:
        loaded: the variant.
        contract: its inputs.
        arrays: rows of the validation set, by input.
    """
    kinds = {arrays[spec.name].dtype.kind for spec in contract.inputs}
    neighbours = [n for n in NEIGHBOURS if kinds & set(n.kinds)]
    for row in _rows(contract, arrays):
        alone, copies = loaded.run(row), _middle(loaded, row, row)
        if copies is None:
            continue
        tolerance = {name: _distance(alone[name][:1], copies[name]) for name in copies}
        for neighbour in neighbours:
            beside = _middle(loaded, row, {name: neighbour.beside(array) for name, array in row.items()})
            if beside is not None and not all(_same(copies[n], beside[n], tolerance[n]) for n in copies):
                return neighbour.name
    return ""


def _rows(contract: Contract, arrays: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    count = len(arrays[contract.inputs[0].name])
    for at in np.unique(np.linspace(0, count - 1, ROWS).astype(int)):
        yield {spec.name: np.ascontiguousarray(arrays[spec.name][at : at + 1]) for spec in contract.inputs}


def _middle(loaded: Engine, row: Mapping[str, Array], beside: Mapping[str, Array]) -> dict[str, Array] | None:
    """The row's outputs in the middle of a batch; None if the engine refuses it."""
    side = BATCH // 2
    batch = {name: np.concatenate([beside[name]] * side + [row[name]] + [beside[name]] * side) for name in row}
    try:
        outputs = loaded.run(batch)
    except InferenceFailed:
        return None
    return {name: np.asarray(output)[side : side + 1] for name, output in outputs.items()}


def _distance(one: Array, other: Array) -> float:
    if one.dtype.kind != "f" or one.shape != other.shape:
        return 0.0
    both = np.isfinite(one) & np.isfinite(other)
    return float(np.max(np.abs(one[both].astype(np.float64) - other[both]), initial=0.0))


def _same(one: Array, other: Array, tolerance: float) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    finite = one[np.isfinite(one)].astype(np.float64)
    limit = 2.0 * tolerance + ROUNDING * float(np.max(np.abs(finite), initial=0.0))
    return bool(np.allclose(other.astype(np.float64), one.astype(np.float64), rtol=0.0, atol=limit, equal_nan=True))
