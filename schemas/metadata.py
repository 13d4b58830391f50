"""The records of the metadata store, each under a key `kind/...` with exactly one writer.

Facts tolerate fields they do not know, so that services of two versions can share a store. A leader's records carry its
epoch, a worker's its boot id, in a record header (schemas/headers.py): a tombstone has no body to carry them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infaas.schemas.contract import Contract
from infaas.schemas.errors import BadInput
from infaas.schemas.profile import BatchPoint, Profile

SCHEMA_VERSION = 1
Role = Literal["scaler", "registrar"]


class Record(BaseModel):
    """What all metadata records have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    writer: ClassVar[Literal["scaler", "registrar", "worker", "claimer"]]
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        """The record's key in the store."""
        raise NotImplementedError


class Leader(Record):
    """A claim to lead; its offset in the topic is the epoch."""

    writer = "claimer"
    kind: Literal["leader"] = "leader"
    role: Role
    nonce: str
    claimed_at_ms: int

    @property
    def key(self) -> str:
        return f"leader/{self.role}"


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


AnyRecord = Annotated[
    Leader
    | Architecture
    | Variant
    | Built
    | ProfilePoint
    | Machine
    | Worker
    | Placement
    | Assignment
    | Instance
    | Verdict,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyRecord] = TypeAdapter(AnyRecord)
SCALER_KINDS = frozenset({"machine", "placement", "assignment", "verdict"})
REGISTRAR_KINDS = frozenset({"architecture", "variant"})
WORKER_KINDS = frozenset({"worker", "instance", "built", "profile"})


def kind_of(key: str) -> str:
    """The part of a key before the first slash."""
    return key.partition("/")[0]


def leader_of(key: str) -> Role | None:
    """Whose claim decides whether a record under this key counts; None for a worker's and for claims."""
    kind = kind_of(key)
    return "scaler" if kind in SCALER_KINDS else "registrar" if kind in REGISTRAR_KINDS else None


def worker_of(key: str) -> str | None:
    """The worker whose boot id decides whether a record under this key counts; None for other keys.

    `built/` and `profile/` hold measurements, true whatever became of the worker: they have no such worker.
    """
    parts = key.split("/")
    return parts[1] if parts[0] in ("worker", "instance") and len(parts) > 1 else None


def encode(record: Record) -> bytes:
    """The record's value in the store."""
    return orjson.dumps(record.model_dump(mode="json"))


def decode(value: bytes) -> AnyRecord:
    """Reads a record.

    Raises:
        BadInput: naming the first field that is wrong.
    """
    try:
        return _ADAPTER.validate_json(value)
    except ValidationError as error:
        raise from_validation(error) from None


def from_validation(error: ValidationError) -> BadInput:
    """Our error for pydantic's first one."""
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "value"
    return BadInput(where, str(first["msg"]), first.get("input"))
