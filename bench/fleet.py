"""A cell that only stands in the metadata: variants of one application, each with an instance on each worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import uuid_utils

from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.headers import HeaderList, boot_headers, epoch_headers
from infaas.schemas.metadata import (
    AnyRecord,
    Architecture,
    Assignment,
    Hardware,
    Instance,
    Owner,
    Ownership,
    Recipe,
    Variant,
    Worker,
    kind_of,
    leader_of,
)
from infaas.schemas.profile import BatchPoint, Profile
from infaas.schemas.reports import Backlog, BacklogEntry, Position
from infaas.store.view import View

APPLICATION = "bench"
QUERY_MS = 0.05
"""Of a query at full use: a small model, so that a few instances take whatever a router sends them."""
COST = 0.05
"""USD an hour of the cheapest variant."""


@dataclass(frozen=True)
class Fleet:
    """So many variants, so many workers.

    The first variant is the cheapest, so that a query that leaves the choice gets it.
    """

    variants: int
    workers: int
    query_ms: float = QUERY_MS

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the variants, the cheapest first."""
        return tuple(f"model{n:02}.v1.onnxruntime-cpu1-fp32" for n in range(self.variants))

    @cached_property
    def boots(self) -> dict[str, str]:
        """Boot id of each worker."""
        return {f"worker{n:05}": str(uuid_utils.uuid7()) for n in range(self.workers)}

    def records(self) -> Iterator[AnyRecord]:
        """All of them, a worker before its instances."""
        for at, name in enumerate(self.names):
            yield from self._model(name, COST * (1 + at / 100.0))
        for worker, boot in self.boots.items():
            hardware = Hardware(cores=64, memory_bytes=2**38)
            yield Worker(worker=worker, boot_id=boot, machine_type="local", hardware=hardware, price_per_hour=1.0)
        for name in self.names:
            for at, (worker, boot) in enumerate(self.boots.items()):
                yield Instance(worker=worker, boot_id=boot, variant=name, instance=0, state="active", taken=(at,))
            owners = (Owner(worker=worker, boot_id=boot, instance=0) for worker, boot in self.boots.items())
            yield Assignment(variant=name, partitions=tuple(Ownership(owner=owner) for owner in owners))

    def view(self) -> View:
        """A view with all of them."""
        kinds: dict[str, dict[str, AnyRecord]] = {}
        for record in self.records():
            kinds.setdefault(kind_of(record.key), {})[record.key] = record
        return View(1, 1, kinds)

    def headers(self, record: AnyRecord, epochs: dict[str, int]) -> HeaderList:
        """With which a record counts, under a leader's epochs."""
        role = leader_of(record.key)
        return epoch_headers(epochs[role]) if role else boot_headers(self.boots[getattr(record, "worker", "")])

    def report(self, variant: str, at: int, *, end: int, completed: int, query_ms: float | None = None) -> Backlog:
        """What the supervisor of a worker says of one instance."""
        worker = f"worker{at:05}"
        position = Position(partition=at, end=end, completed=completed)
        entry = BacklogEntry(variant=variant, instance=0, query_ms=query_ms or self.query_ms, positions=(position,))
        return Backlog(worker=worker, boot_id=self.boots[worker], entries=(entry,))

    def _model(self, name: str, cost: float) -> Iterator[AnyRecord]:
        tensor = TensorSpec(name="x", datatype="FP32", shape=(-1, 64))
        digest = "sha256:" + "0" * 64
        contract = Contract(inputs=(tensor,), outputs=(tensor,), validation_digest=digest)
        yield Architecture(
            architecture=name.partition(".")[0],
            application=APPLICATION,
            version=1,
            contract=contract,
            source_digest=digest,
            state="ready",
        )
        recipe = Recipe(
            source_digest=digest, generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32"
        )
        yield Variant(
            variant=name,
            architecture=name.partition(".")[0],
            application=APPLICATION,
            recipe=recipe,
            state="ready",
            contract=contract,
            validation_digest=digest,
            artifact_digest=digest,
            profile=_profile(self.query_ms),
            cost_per_hour=cost,
        )


def _profile(query_ms: float) -> Profile:
    points = tuple(
        BatchPoint(batch=batch, p50_ms=query_ms * (batch + 3), p99_ms=2 * query_ms * (batch + 3))
        for batch in (1, 8, 32)
    )
    return Profile(
        load_ms=50.0, peak_memory_bytes=10**7, accuracy=0.9, points=points, slope=query_ms, intercept=3 * query_ms
    )
