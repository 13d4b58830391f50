"""An application's contract: what goes in and out of every architecture registered under it.

A query by application may reach any of them, so the first registration fixes the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infaas.schemas.errors import BadModel, BadTensor

if TYPE_CHECKING:
    from infaas.schemas.oip import Array

Metric = Literal["accuracy"]


class TensorSpec(BaseModel):
    """One input or output: its first axis is rows (-1), other axes may be free (-1) too."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    datatype: str
    shape: tuple[int, ...]

    def check(self, array: Array) -> None:
        """Compares a tensor with this description.

        Raises:
            BadTensor: naming the field and what was expected.
        """
        from infaas.schemas.oip import datatype_of  # here alone: whoever only reads metadata needs no numpy

        found = datatype_of(array)
        if found != self.datatype:
            raise BadTensor(f"inputs.{self.name}.datatype", self.datatype, found)
        fits = len(array.shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, array.shape, strict=True)
        )
        if not fits:
            raise BadTensor(f"inputs.{self.name}.shape", str(list(self.shape)), list(array.shape))


class Contract(BaseModel):
    """Inputs, outputs, labels, metric and validation set of an application."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    metric: Metric = "accuracy"
    validation_digest: str

    def check_inputs(self, inputs: Mapping[str, Array]) -> int:
        """Compares a query's tensors with the contract; returns its number of rows.

        Raises:
            BadTensor: naming the field and what was expected.
        """
        rows: int | None = None
        for spec in self.inputs:
            array = inputs.get(spec.name)
            if array is None or len(inputs) != len(self.inputs):
                raise BadTensor("inputs", f"exactly {sorted(spec.name for spec in self.inputs)}", sorted(inputs))
            spec.check(array)
            if rows is not None and array.shape[0] != rows:
                raise BadTensor(f"inputs.{spec.name}.shape", f"{rows} rows, as the other inputs", array.shape[0])
            rows = int(array.shape[0])
        if not rows:
            raise BadTensor("inputs", "at least one row", rows)
        return rows

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
