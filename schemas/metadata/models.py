"""What there is to serve: architectures, their variants, and what building them has found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from infaas.schemas.contract import Contract
from infaas.schemas.metadata.record import Record
from infaas.schemas.profile import BatchPoint, PathCost, Profile

ArchitectureState = Literal["accepted", "building", "ready", "failed", "retired"]


class Architecture(Record):
    """A registered model; stays as `retired` with its last version, so that no topic name is ever used again."""

    writer = "registrar"
    kind: Literal["architecture"] = "architecture"
    architecture: str
    application: str
    version: int
    contract: Contract
    source_digest: str
    state: ArchitectureState
    reason: str = ""
    max_batch: int = 64
    generators: tuple[str, ...] | None = None
    """Asked for; None = all that apply."""
    cores: tuple[int, ...] = (1, 2)
    """Core counts to make variants for."""

    @property
    def key(self) -> str:
        return f"architecture/{self.architecture}"


class Recipe(BaseModel):
    """How a variant is made, and what for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source_digest: str
    generator: str
    engine: str
    platform: str
    cores: int = Field(ge=1)
    precision: str
    max_batch: int = Field(ge=1, default=64)


VariantState = Literal["planned", "building", "ready", "dominated", "rejected", "failed", "retired"]
SERVABLE: frozenset[VariantState] = frozenset({"ready", "dominated"})
"""States of a variant that can be served; a dominated one to those alone who name it."""


class Variant(Record):
    """A model variant: recipe, artifact, profile."""

    writer = "registrar"
    kind: Literal["variant"] = "variant"
    variant: str
    architecture: str
    application: str
    recipe: Recipe
    state: VariantState
    contract: Contract
    validation_digest: str
    artifact_digest: str | None = None
    profile: Profile | None = None
    cost_per_hour: float | None = None
    """C_v at the catalogue price, USD."""
    reason: str = ""
    """Why it is rejected, failed, dominated (and by what), not built yet, or run one query at a time."""

    @property
    def key(self) -> str:
        return f"variant/{self.variant}"


class Built(Record):
    """What one build found, written by the worker that ran it."""

    writer = "worker"
    kind: Literal["built"] = "built"
    variant: str
    worker: str
    outcome: Literal["built", "not_applicable", "failed", "waiting"]
    """`waiting`: it has not ended, and is tried again once a reason outside of it has passed."""
    reason: str = ""
    artifact_digest: str | None = None
    size_bytes: int = 0
    load_ms: float = 0.0
    peak_memory_bytes: int = 0
    accuracy: float = 0.0
    agreement: float | None = None
    path: PathCost = PathCost()
    """Of an instance beside the model; nothing if it was not measured."""
    batch_invariant: bool = True
    """Whether no row's input changes another row's answer; else only batches of 1 are measured, and formed."""

    @property
    def key(self) -> str:
        return f"built/{self.variant}"


class ProfilePoint(Record):
    """One measured point of a build, written as soon as it is there: a killed build goes on behind it."""

    writer = "worker"
    kind: Literal["profile"] = "profile"
    variant: str
    worker: str
    point: BatchPoint

    @property
    def key(self) -> str:
        return f"profile/{self.variant}/{self.point.batch}"
