"""An application's contract: what goes in and out of every architecture registered under it.

A query by application may reach any of them, so the first registration fixes the contract.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infaas.schemas.errors import BadModel

Metric = Literal["accuracy"]


class TensorSpec(BaseModel):
    """One input or output: its first axis is rows (-1), other axes may be free (-1) too."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    datatype: str
    shape: tuple[int, ...]


class Contract(BaseModel):
    """Inputs, outputs, labels, metric and validation set of an application."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    metric: Metric = "accuracy"
    validation_digest: str

    def require_same(self, other: Contract) -> None:
        """Refuses an architecture that differs from the application's first.

        Raises:
            BadModel: naming the first field that differs.
        """
        for field in type(self).model_fields:
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise BadModel(
                    f"contract.{field}", f"{_plain(mine)}, as the application's first architecture has", _plain(theirs)
                )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.model_dump() if isinstance(value, BaseModel) else value
