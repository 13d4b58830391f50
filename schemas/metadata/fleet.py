"""What serves it: machines, workers, what should run on them, and what does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from infaas.schemas.metadata.record import Record


class Machine(Record):
    """A machine that should be there; written before the provider is called, its id being the idempotency token."""

    writer = "scaler"
    kind: Literal["machine"] = "machine"
    machine: str
    machine_type: str
    wanted: Literal["running", "drained", "stopped"]
    provider_id: str | None = None

    @property
    def key(self) -> str:
        return f"machine/{self.machine}"


class Hardware(BaseModel):
    """What a supervisor found on its machine, or was given of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    platforms: tuple[str, ...] = ("cpu",)
    cores: int = Field(ge=1)
    memory_bytes: int = Field(gt=0)
    accelerators: int = 0
    accelerator_memory_bytes: int = 0


class Worker(Record):
    """A supervisor that is there, under its current boot id."""

    writer = "worker"
    kind: Literal["worker"] = "worker"
    worker: str
    boot_id: str
    machine_type: str
    hardware: Hardware
    price_per_hour: float
    state: Literal["running", "draining", "stopped"] = "running"

    @property
    def key(self) -> str:
        return f"worker/{self.worker}"


class Placement(Record):
    """How many instances of a variant should run on a worker, or that it should be built there."""

    writer = "scaler"
    kind: Literal["placement"] = "placement"
    worker: str
    variant: str
    instances: int = Field(ge=0, default=0)
    build: bool = False

    @property
    def key(self) -> str:
        return f"placement/{self.worker}/{self.variant}"


class Owner(BaseModel):
    """One instance, of one life of its supervisor."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    worker: str
    boot_id: str
    instance: int


class Ownership(BaseModel):
    """Who should consume a partition, and who should have before: the successor asks how that one ended."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: Owner | None = None
    previous: Owner | None = None


class Assignment(Record):
    """Each partition of a variant's work topic → its owner; one record, so a move is one write."""

    writer = "scaler"
    kind: Literal["assignment"] = "assignment"
    variant: str
    partitions: tuple[Ownership, ...]

    @property
    def key(self) -> str:
        return f"assignment/{self.variant}"


ServingState = Literal["active", "overloaded", "interfered"]
InstanceState = ServingState | Literal["starting", "draining", "failed", "stopped"]
SERVING: frozenset[ServingState] = frozenset(get_args(ServingState))
"""States of an instance that answers queries."""


def serving(state: InstanceState) -> ServingState | None:
    """The state, if it is one of an instance that answers queries."""
    match state:
        case "active" | "overloaded" | "interfered":
            return state
        case _:
            return None


class Instance(Record):
    """What does run, and which partitions it has; its supervisor alone writes this."""

    writer = "worker"
    kind: Literal["instance"] = "instance"
    worker: str
    boot_id: str
    variant: str
    instance: int
    state: InstanceState
    taken: tuple[int, ...] = ()
    released: tuple[int, ...] = ()
    died: Mapping[int, int] = Field(default_factory=dict)
    """Partition → the offset after the furthest record taken when the process died holding it; a successor runs the
    records up to there one at a time."""
    sequence: int = 0
    """Counts this instance's facts, so that its supervisor knows which of them it reads back."""
    since_ms: int = 0
    reason: str = ""

    @property
    def key(self) -> str:
        return f"instance/{self.worker}/{self.variant}/{self.instance}"


class Verdict(Record):
    """A boot id pronounced dead: all its facts are void."""

    writer = "scaler"
    kind: Literal["verdict"] = "verdict"
    worker: str
    boot_id: str
    reason: str = ""

    @property
    def key(self) -> str:
        return f"verdict/{self.worker}"
