"""Metadata records as they stand in the topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from infaas.schemas.errors import BadInput
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
