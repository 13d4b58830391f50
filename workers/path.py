"""`python -m infaas.workers.path`: what an instance takes of a core beside its model, a query and a batch. A build starts it.

It is an instance as it serves (`serve.compose`), its loop and its clients included, with an engine that does nothing and a broker
within the process. It answers queries as they are, one at a time and in the largest batches; the line through the two is the cost
of a query and of a batch.
In: one line of JSON, {parent, contract, sample, max_batch}. Out: one line, a `PathCost`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from infaas.bus.inner_broker import clients_cpu_s, inner_broker
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.host.channel import Inbox, line_of
from infaas.host.messages import TO_CHILD, Keep, Message, Serve, Stats, Take
from infaas.host.process import die_with_parent
from infaas.schemas.contract import Contract
from infaas.schemas.headers import ReplyAddress, Travel, travel_headers
from infaas.schemas.metadata import Recipe, Variant
from infaas.schemas.oip import DATATYPES, Array, InferRequest, encode_request
from infaas.schemas.profile import BatchPoint, PathCost, Profile
from infaas.schemas.topics import REPLIES, TELEMETRY
from infaas.workers.instance import Instance
from infaas.workers.serve import Connections, compose

QUERIES, WARM_UP = 1500, 300
"""Answered, and of these first without being counted."""
NAME = "path.v1.nothing-cpu1-fp32"
SETTINGS = "INFAAS_"
PATIENCE_STEPS = 200_000
"""An instance that has not answered all by then never will."""
INSTANT_MS = 0.001


class Nothing:
    """An engine without a model: zeros of the shape that was agreed on."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def load(self, path: Path, *, platform: str, cores: int) -> None:
        """Nothing to load."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Zeros."""
        rows = len(next(iter(inputs.values())))
        return {
            spec.name: np.zeros([rows, *(max(1, n) for n in spec.shape[1:])], dtype=DATATYPES[spec.datatype])
            for spec in self._contract.outputs
        }

    def close(self) -> None:
        """Nothing to give back."""


def measure(contract: Contract, row: Mapping[str, Array], max_batch: int) -> PathCost:
    """The cost of the path for queries of one such row.

    Args:
        contract: what goes in and comes out.
        row: by input.
        max_batch: of the variant.
    """
    value, _ = encode_request(InferRequest(dict(row)))
    single, alone_ms = _each_ms(contract, value, 1)
    if max_batch == 1:
        return PathCost(query_ms=alone_ms)
    batch, together_ms = _each_ms(contract, value, max_batch)
    if batch <= single:
        return PathCost(query_ms=together_ms)
    # A query costs its own, and its share of the batch's.
    batch_ms = max(0.0, (alone_ms - together_ms) / (1.0 / single - 1.0 / batch))
    return PathCost(batch_ms=batch_ms, query_ms=max(0.0, together_ms - batch_ms / batch))


def _each_ms(contract: Contract, value: bytes, max_batch: int) -> tuple[float, float]:
    """The mean batch, and what a query took of a core."""
    names = BusSettings().names
    topics = (names.work(NAME), names.offline(NAME), names.of(REPLIES), names.of(TELEMETRY))
    with inner_broker(topics) as address:
        settings = BusSettings(bootstrap_servers=address)
        _ask(settings, value)
        read, write = os.pipe()
        heard: list[Stats] = [Stats()]

        def say(message: Message) -> None:
            if isinstance(message, Stats):
                heard.append(message)

        order = Serve(variant=_variant(contract, max_batch), worker="path", instance=0, repository_url="", cache_dir="")
        inbox = Inbox(read, TO_CHILD)
        try:
            instance = compose(settings, order, inbox, say, Nothing(contract), Connections.open(settings, order))
            os.write(write, line_of(Take(partition=0)))
            first, before_s = _serve(instance, heard, write, WARM_UP), clients_cpu_s()
            last, after_s = _serve(instance, heard, write, QUERIES), clients_cpu_s()
            instance.close()
        finally:
            os.close(write)
            os.close(read)
    queries = last.counters.answered - first.counters.answered
    batches = last.counters.batches - first.counters.batches
    return queries / max(1, batches), (after_s - before_s) * 1000.0 / queries


def _ask(settings: BusSettings, value: bytes) -> None:
    outbox = Outbox(settings, client_id="path-queries")
    names = settings.names
    for n in range(QUERIES):
        travel = Travel(f"q-0-{n}", 0.0, reply=ReplyAddress(names.of(REPLIES), 0))
        outbox.send(names.work(NAME), value=value, headers=travel_headers(travel, ()), partition=0)
    outbox.flush(10.0)


def _serve(instance: Instance, heard: list[Stats], supervisor: int, answered: int) -> Stats:
    """Until so many are answered."""
    for nth in range(PATIENCE_STEPS):
        if heard[-1].counters.answered >= answered:
            return heard[-1]
        if nth % 100 == 0:
            os.write(supervisor, line_of(Keep()))
        instance.step()
    raise TimeoutError(f"{heard[-1].counters.answered} of {answered} queries answered")


def _variant(contract: Contract, max_batch: int) -> Variant:
    points = tuple(BatchPoint(batch=size, p50_ms=INSTANT_MS, p99_ms=INSTANT_MS) for size in sorted({1, max_batch}))
    profile = Profile(load_ms=0, peak_memory_bytes=0, accuracy=1, points=points, slope=0, intercept=INSTANT_MS)
    recipe = Recipe(
        source_digest="", generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32",
        max_batch=max_batch,
    )  # fmt: skip
    return Variant(
        variant=NAME, architecture="path", application="path", recipe=recipe, state="ready", contract=contract,
        validation_digest="", profile=profile, cost_per_hour=0.0,
    )  # fmt: skip


def main() -> int:
    """Reads the order, prints what was found."""
    order: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    die_with_parent(order["parent"])
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        del os.environ[name]  # they are about a cell, and none is asked
    contract = Contract.model_validate(order["contract"])
    with np.load(order["sample"], allow_pickle=False) as rows:
        row = {spec.name: rows[f"arr_{at}"][:1] for at, spec in enumerate(contract.inputs)}
    found = measure(contract, row, order["max_batch"])
    sys.stdout.buffer.write(b"\n" + found.model_dump_json().encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
