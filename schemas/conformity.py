"""Whether tensors are as a contract says. Apart from it, for whoever only reads contracts needs no arrays."""

from __future__ import annotations

from collections.abc import Mapping

from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.errors import BadTensor
from infaas.schemas.oip import DATATYPES, Array, datatype_of

FREE = -1
"""An axis that may be of any length."""


class Conformity:
    """A contract, with what of it is asked once a query worked out before.

    Args:
        contract: of an application.
    """

    def __init__(self, contract: Contract) -> None:
        self._inputs = [(spec, spec.name, DATATYPES.get(spec.datatype), _row(spec)) for spec in contract.inputs]
        self.one_shape = all(row is not None for _, _, _, row in self._inputs)
        """Whether rows of any two queries can stand in one array."""
        self.outputs = frozenset(spec.name for spec in contract.outputs)
        """Names of what comes out."""

    def check_inputs(self, inputs: Mapping[str, Array]) -> int:
        """Compares a query's tensors with the contract; returns its number of rows.

        Raises:
            BadTensor: naming the field and what was expected.
        """
        rows: int | None = None
        for spec, name, dtype, row in self._inputs:
            array = inputs.get(name)
            if array is None or len(inputs) != len(self._inputs):
                raise BadTensor("inputs", f"exactly {sorted(one[1] for one in self._inputs)}", sorted(inputs))
            shape = array.shape
            if row is None or dtype is None or not shape or shape[1:] != row or array.dtype != dtype:
                check_tensor(spec, array)  # it may conform all the same
            if rows is not None and shape[0] != rows:
                raise BadTensor(f"inputs.{name}.shape", f"{rows} rows, as the other inputs", shape[0])
            rows = int(shape[0])
        if not rows:
            raise BadTensor("inputs", "at least one row", rows)
        return rows


def _row(spec: TensorSpec) -> tuple[int, ...] | None:
    """What all rows are like; None = they may differ, or are none."""
    return spec.shape[1:] if spec.shape[:1] == (FREE,) and FREE not in spec.shape[1:] else None


def check_tensor(spec: TensorSpec, array: Array) -> None:
    """Compares a tensor with its description.

    Raises:
        BadTensor: naming the field and what was expected.
    """
    found = datatype_of(array)
    if found != spec.datatype:
        raise BadTensor(f"inputs.{spec.name}.datatype", spec.datatype, found)
    fits = len(array.shape) == len(spec.shape) and all(
        want in (FREE, have) for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise BadTensor(f"inputs.{spec.name}.shape", str(list(spec.shape)), list(array.shape))
