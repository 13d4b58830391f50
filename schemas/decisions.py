"""Decision records: what was decided, from which inputs and why, for people and for `infaas explain`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from infaas.schemas import coding

UNRECORDED = "Unrecorded"
"""The decision of a record that stands for refusals of which none was kept: how many, by code, from when to when."""


class DecisionRecord(BaseModel):
    """One decision on the `decisions` topic, under the key of what it is for (a query id, an application, a worker)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    by: Literal["router", "scaler", "registrar"]
    about: str
    decision: str
    """Dispatch, Reject, Replicate, Upgrade, Downgrade, Unload, Move, AddWorker, RemoveWorker, Verdict, Return, ..."""
    reason: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    view_offset: int = -1
    at_ms: int


class Usage(BaseModel):
    """Machine-seconds of one machine in one interval, on the `usage` topic: the bill's raw material."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    machine: str
    machine_type: str
    price_per_hour: float
    seconds: float
    by_variant: dict[str, float] = Field(default_factory=dict)
    """Share of the machine-seconds reserved by each variant's instances; the rest is idle."""
    at_ms: int


_ADAPTER = TypeAdapter(DecisionRecord)


def encode(record: DecisionRecord | Usage) -> bytes:
    """The record's value on its topic."""
    return coding.encode(record)


def decode(value: bytes) -> DecisionRecord:
    """Reads a decision.

    Raises:
        BadInput: naming the first field that is wrong.
    """
    return coding.decode(_ADAPTER, value)
