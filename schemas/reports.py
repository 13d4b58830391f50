"""Telemetry: what services report. Liveness is here and never in the metadata store, which it would rewrite all the time.

Counters are cumulative since boot and reports are numbered, so a lost report loses nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from infaas.schemas import coding
from infaas.schemas.headers import ScopeKind
from infaas.schemas.metadata import InstanceState


class Report(BaseModel):
    """What all reports have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Position(BaseModel):
    """How far an instance is in one partition."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    partition: int
    end: int
    """The topic's end as the instance has read it: offsets below it are counted here."""
    completed: int
    """So many of them are answered, in whatever order, as an offset: `end - completed` wait."""


class Counters(BaseModel):
    """What an instance has done since its process started: it tells its supervisor, who reports it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    arrived: int = 0
    answered: int = 0
    expired: int = 0
    failed: int = 0
    batches: int = 0
    busy_ms: float = 0.0
    batch_size_sum: int = 0
    queue_ms_p99: float = 0.0
    """Of the last queries; the rest is cumulative."""


class InstanceReport(Counters):
    """One instance: its counters, and what its supervisor observes."""

    variant: str
    instance: int
    pid: int
    state: InstanceState
    query_ms: float = 0.0
    """Observed time a query, ms: of the batch and of the instance's own path, over its queries, smoothed; 0 = nothing observed yet."""
    slowdown: float = 1.0
    """Observed batch latency over the profile's, smoothed."""
    cost_ratio: float = 1.0
    """Observed processor time of what was answered over what profile and path say, smoothed; 1 = nothing to go by."""
    memory_bytes: int = 0
    positions: tuple[Position, ...] = ()
    age_ms: float = 0.0
    """How old the positions were when this was sent."""


class WorkerReport(Report):
    """A supervisor's sign of life, every 0.5 s."""

    kind: Literal["worker_report"] = "worker_report"
    worker: str
    boot_id: str
    sequence: int
    instances: tuple[InstanceReport, ...] = ()
    cores_used: float = 0.0
    """Cores' worth of processor time used by the worker's processes since the last report."""
    builds: tuple[str, ...] = ()
    idle_cores: int = 0


class BacklogEntry(BaseModel):
    """One instance's positions."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variant: str
    instance: int
    query_ms: float
    positions: tuple[Position, ...]
    age_ms: float = 0.0
    """How old the positions were when this was sent."""


class Backlog(Report):
    """Positions of a worker's instances, at most every 0.1 s, when changed."""

    kind: Literal["backlog"] = "backlog"
    worker: str
    boot_id: str
    entries: tuple[BacklogEntry, ...]


class ClassCount(BaseModel):
    """Queries offered of one class, rejected and expired ones included."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scope: ScopeKind
    name: str
    eligible: tuple[str, ...]
    """Variants that meet the accuracy floor and the cost limit, sorted."""
    latency_ms: float | None
    """Like objectives (within 10 %) are one class, under the first that was seen; None = offline."""
    optimize: Literal["cost", "accuracy", "latency"] = "cost"
    offered: int
    rejected: int = 0


class RouterReport(Report):
    """A router's counters, and the view on which its oldest unconfirmed send was chosen."""

    kind: Literal["router_report"] = "router_report"
    router: str
    boot_id: str
    member_id: str
    """Its id in the consumer group: unregistering waits for every member."""
    sequence: int
    view_offset: int
    """Everything of metadata below this offset was in the view of every send not yet confirmed."""
    classes: tuple[ClassCount, ...] = ()
    dispatched: int = 0
    rejected: int = 0


class VariantWanted(Report):
    """A router has sent to a variant that does not run: start it at once."""

    kind: Literal["variant_wanted"] = "variant_wanted"
    variant: str
    router: str
    deadline_ms: float | None = None


class Tick(Report):
    """A leader's sign of life: the scaler's every 0.2 s, the registrar's every 0.5 s."""

    kind: Literal["tick"] = "tick"
    role: Literal["scaler", "registrar"]
    epoch: int
    sequence: int
    headroom: dict[str, float] = Field(default_factory=dict)
    """By application, for people who watch."""
    cost_per_hour: float = 0.0


AnyReport = Annotated[
    WorkerReport | Backlog | RouterReport | VariantWanted | Tick,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyReport] = TypeAdapter(AnyReport)


def encode(report: Report) -> bytes:
    """The report's value on the telemetry topic."""
    return coding.encode(report)


def decode(value: bytes) -> AnyReport:
    """Reads a report.

    Raises:
        BadInput: naming the first field that is wrong.
    """
    return coding.decode(_ADAPTER, value)
