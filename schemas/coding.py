"""How wire models become values on a topic and come back: JSON, and an error that names the first field that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from infaas.schemas.errors import BadInput

T = TypeVar("T")


def encode(model: BaseModel) -> bytes:
    """A model's value on its topic."""
    return orjson.dumps(model.model_dump(mode="json"))


def decode(adapter: TypeAdapter[T], value: bytes) -> T:
    """Reads what the adapter takes.

    Raises:
        BadInput: naming the first field that is wrong.
    """
    try:
        return adapter.validate_json(value)
    except ValidationError as error:
        raise from_validation(error) from None


def from_validation(error: ValidationError) -> BadInput:
    """Our error for pydantic's first one."""
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "value"
    return BadInput(where, str(first["msg"]), first.get("input"))
