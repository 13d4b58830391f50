"""Metadata records as they stand in the topic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from infaas.schemas import coding
from infaas.schemas.metadata.fleet import Assignment, Instance, Machine, Placement, Verdict, Worker
from infaas.schemas.metadata.models import Architecture, Built, ProfilePoint, Variant
from infaas.schemas.metadata.record import Leader, Record

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


def encode(record: Record) -> bytes:
    """The record's value in the store."""
    return coding.encode(record)


def decode(value: bytes) -> AnyRecord:
    """Reads a record.

    Raises:
        BadInput: naming the first field that is wrong.
    """
    return coding.decode(_ADAPTER, value)
