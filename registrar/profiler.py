"""The latency curve of a loaded engine: median and 99th percentile by batch size, measured where it will serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from infaas.engines import Engine
from infaas.schemas.contract import Contract
from infaas.schemas.oip import Array
from infaas.schemas.profile import BatchPoint

WARM_UP = 3
FEWEST, MOST = 20, 400
BUDGET_S = 0.7  # of one point; a variant is profiled in seconds, not minutes
TOO_SLOW_S = 2.0  # a batch slower than this helps no online query


def sizes(max_batch: int) -> list[int]:
    """1, 2, 4, ... and the largest batch itself."""
    out = [1]
    while out[-1] * 2 <= max_batch:
        out.append(out[-1] * 2)
    return out if out[-1] == max_batch else [*out, max_batch]


def measure(
    loaded: Engine,
    contract: Contract,
    arrays: Mapping[str, Array],
    *,
    max_batch: int,
    done: Mapping[int, BatchPoint],
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[BatchPoint]:
    """Points by batch size, as they are measured; those in `done` are not measured again."""
    for size in sizes(max_batch):
        point = done.get(size)
        if point is None:
            point = _point(loaded, _batch(contract, arrays, size), size, clock)
            yield point
        if point.p50_ms > TOO_SLOW_S * 1000.0:
            return


def _batch(contract: Contract, arrays: Mapping[str, Array], size: int) -> dict[str, Array]:
    """Rows of the validation set, over and over."""
    out = {}
    for spec in contract.inputs:
        array = arrays[spec.name]
        rows = np.arange(size) % len(array)
        out[spec.name] = np.ascontiguousarray(array[rows])
    return out


def _point(loaded: Engine, batch: dict[str, Array], size: int, clock: Callable[[], float]) -> BatchPoint:
    for _ in range(WARM_UP):
        loaded.run(batch)
    took: list[float] = []
    begun = clock()
    while len(took) < MOST and (len(took) < FEWEST or clock() - begun < BUDGET_S):
        start = clock()
        loaded.run(batch)
        took.append(clock() - start)
        if clock() - begun > BUDGET_S and sum(took) > TOO_SLOW_S:
            break
    p50, p99 = np.percentile(took, [50, 99]) * 1000.0
    return BatchPoint(batch=size, p50_ms=float(p50), p99_ms=float(p99), samples=len(took))
