"""Open Inference Protocol v2 (the KServe predict protocol): requests and responses, in JSON and with binary tensors.

The binary form is JSON followed by raw little-endian tensors; the length of the JSON stands in the record header
`inference-header-content-length`, each tensor's in its parameter `binary_data_size`. Tensors are numpy arrays here;
binary ones are views of the record's bytes and are never copied. Whatever stands in a body, reading it gives a request or
`BadTensor`, and takes memory in proportion to the body.

Source: https://kserve.github.io/website (Open Inference Protocol v2, binary tensor data extension).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import orjson

from infaas.schemas.errors import BadTensor
from infaas.schemas.headers import CONTENT_LENGTH

Array: TypeAlias = np.ndarray[Any, Any]
DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_MAX_RANK = 16
_MAX_SIDE = 2**31 - 1
"""Of an axis: beyond it no tensor fits a record, and a product of few such axes still is a number numpy can count with."""
_NUMBERS = frozenset({int, float, bool})
_MAX_MESSAGE = 2000
_WHOLE = frozenset({int})
_FLOATS = frozenset({float})
_NO_BYTES = memoryview(b"")
_LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in _NAMES if dtype.kind == "f"}


@dataclass(slots=True)
class InferRequest:
    """A query's body. Arrays keep the shape they came with, the first axis being rows."""

    inputs: Mapping[str, Array]
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    """The outputs asked for; empty = all."""
    binary: bool = False
    """The form it came in, in which the reply goes."""


@dataclass(slots=True)
class InferResponse:
    """A reply's body."""

    model_name: str
    outputs: Mapping[str, Array]
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's dtype.

    Raises:
        BadTensor: if the protocol has none.
    """
    name = _NAMES.get(array.dtype) or _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise BadTensor("datatype", "one of " + ", ".join(DATATYPES), str(array.dtype))
    return name


def decode_request(value: bytes, json_length: int | None = None) -> InferRequest:
    """Reads a request in either form.

    Args:
        value: the record's value.
        json_length: the length of the JSON part if the binary form is used.

    Raises:
        BadTensor: naming the field and what was expected.
    """
    body, raw = _split(value, json_length)
    tensors = body.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise BadTensor("inputs", "a list of at least one tensor", tensors)
    inputs = _tensors(tensors, raw, "inputs")
    outputs = body.get("outputs")
    return InferRequest(
        inputs=inputs,
        id=_identifier(body),
        parameters=_parameters(body, "parameters"),
        outputs=_wanted(outputs) if outputs else (),
        binary=json_length is not None,
    )


def _wanted(outputs: Any) -> tuple[str, ...]:
    if not isinstance(outputs, list) or not all(
        isinstance(o, dict) and isinstance(o.get("name"), str) for o in outputs
    ):
        raise BadTensor("outputs", "a list of {name}", outputs)
    return tuple(o["name"] for o in outputs)


def encode_request(request: InferRequest) -> tuple[bytes, int | None]:
    """Writes a request in the form it asks for; returns the value and, if binary, the length of its JSON part."""
    body: dict[str, Any] = {}
    if request.id is not None:
        body["id"] = request.id
    if request.parameters:
        body["parameters"] = dict(request.parameters)
    if request.outputs:
        body["outputs"] = [{"name": name} for name in request.outputs]
    return _encode(body, "inputs", request.inputs, binary=request.binary)


def decode_response(value: bytes, json_length: int | None = None) -> InferResponse:
    """Reads a response in either form.

    Raises:
        BadTensor: naming the field and what was expected.
    """
    body, raw = _split(value, json_length)
    return InferResponse(
        model_name=str(body.get("model_name", "")),
        outputs=_tensors(body.get("outputs") or [], raw, "outputs"),
        id=_identifier(body),
        parameters=_parameters(body, "parameters"),
    )


def encode_response(response: InferResponse, *, binary: bool) -> tuple[bytes, int | None]:
    """Writes a response; returns the value and, if binary, the length of its JSON part."""
    body: dict[str, Any] = {"model_name": response.model_name}
    if response.id is not None:
        body["id"] = response.id
    if response.parameters:
        body["parameters"] = dict(response.parameters)
    return _encode(body, "outputs", response.outputs, binary=binary)


def encode_error(code: str, message: str, **more: object) -> bytes:
    """Writes the value of a reply that is not `ok`; the message may be anything, such as an engine's."""
    plain = message[:_MAX_MESSAGE].encode(errors="replace").decode()
    return orjson.dumps({"error": plain, "code": code, **{k: v for k, v in more.items() if v is not None}})


def body_parameters(value: bytes, json_length: int | None = None) -> Mapping[str, Any]:
    """The `parameters` of a request, of which nothing else is looked at: for producers that can't set headers.

    Raises:
        BadTensor: if the body is no JSON object.
    """
    body, _ = _split(value, json_length)
    return _parameters(body, "parameters")


def _split(value: bytes, json_length: int | None) -> tuple[dict[str, Any], memoryview]:
    head: bytes | memoryview = value
    rest = _NO_BYTES
    if json_length is not None:
        if not 0 < json_length <= len(value):
            raise BadTensor(CONTENT_LENGTH, f"a length from 1 to {len(value)}", json_length)
        view = memoryview(value)
        head, rest = view[:json_length], view[json_length:]
    try:
        body = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise BadTensor("body", f"JSON ({error})", value[:40]) from None
    if not isinstance(body, dict):
        raise BadTensor("body", "a JSON object", type(body).__name__)
    return body, rest


def _identifier(body: Mapping[str, Any]) -> str | None:
    identifier = body.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadTensor("id", "text", identifier)
    return identifier


def _parameters(owner: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadTensor(where, "an object", parameters)
    return parameters


def _tensors(tensors: Sequence[Any], raw: memoryview, where: str) -> dict[str, Array]:
    out: dict[str, Array] = {}
    at = 0
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise BadTensor(
                f"{where}[{i}].name", "text", tensor if not isinstance(tensor, dict) else tensor.get("name")
            )
        name = f"{where}.{tensor['name']}"
        datatype = tensor.get("datatype")
        dtype = DATATYPES.get(datatype) if isinstance(datatype, str) else None
        if dtype is None:
            raise BadTensor(f"{name}.datatype", "one of " + ", ".join(DATATYPES), datatype)
        shape = _shape(tensor.get("shape"), name)
        size = _parameters(tensor, f"{name}.parameters").get("binary_data_size") if "parameters" in tensor else None
        if size is not None:
            array = _from_bytes(raw, at, size, dtype, shape, name)
            at += size
        else:
            array = _from_json(tensor.get("data"), dtype, shape, name)
        if tensor["name"] in out:
            raise BadTensor(name, "each tensor once", "it comes twice")
        out[tensor["name"]] = array
    if at != len(raw):
        raise BadTensor(where, f"{at} bytes of binary tensors, as their binary_data_size say", len(raw))
    return out


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    elements = 1
    fits = isinstance(shape, list) and len(shape) <= _MAX_RANK
    for side in shape if fits else ():
        if type(side) is not int or not 0 <= side <= _MAX_SIDE:
            fits = False
            break
        elements *= side or 1  # numpy counts the axes that are not empty, whatever the others are
    if not fits or elements > _MAX_SIDE:
        expected = f"a list of at most {_MAX_RANK} whole numbers from 0, of at most {_MAX_SIDE} elements"
        raise BadTensor(f"{name}.shape", expected, shape)
    return tuple(shape)


def _from_bytes(raw: memoryview, at: int, size: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    expected = math.prod(shape) * dtype.itemsize
    if type(size) is not int or size != expected:
        raise BadTensor(f"{name}.binary_data_size", f"{expected} bytes for shape {list(shape)}", size)
    if at + size > len(raw):
        raise BadTensor(name, f"{size} bytes of binary data", f"{max(0, len(raw) - at)} left")
    return np.frombuffer(raw[at : at + size], dtype=dtype).reshape(shape)


def _from_json(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    if not isinstance(data, list):
        raise BadTensor(f"{name}.data", "a list, or binary data with binary_data_size", data)
    flat, kinds = _flat(data, name)
    if len(flat) != math.prod(shape):
        raise BadTensor(f"{name}.data", f"{math.prod(shape)} values for shape {list(shape)}", len(flat))
    if kinds == _FLOATS and dtype.kind == "f":  # the common case
        return _floats(np.array(flat, np.float64), dtype, name).reshape(shape)
    array = np.asarray(flat)
    if array.size == 0:
        array = array.astype(dtype)
    if array.dtype.kind == "f" and kinds == _WHOLE:  # numpy takes integers above 2**63 beside negative ones for floats
        array = _exact(flat, dtype, name)
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        array = _cast_integers(array, dtype, name)
    return _within(array, dtype, name).reshape(shape)


def _floats(wide: Array, dtype: np.dtype[Any], name: str) -> Array:
    low, high = _range(wide)
    if -_LARGEST[dtype] <= low and high <= _LARGEST[dtype]:
        return wide.astype(dtype, copy=False)
    return _finite(_cast(wide, dtype), dtype, name, wide)


def _range(array: Array) -> tuple[float, float]:
    """The least and the largest number, both NaN if one is NaN: found by their places, which are plain numbers and so the quickest."""
    return (array.item(array.argmin()), array.item(array.argmax())) if array.size else (0.0, 0.0)


def _flat(data: list[Any], name: str) -> tuple[list[Any], set[type]]:
    """The numbers of nested lists, and their kinds: looked at before numpy makes texts as wide as the widest of them all."""
    level = data
    for _ in range(_MAX_RANK + 1):
        kinds = set(map(type, level))
        if list not in kinds:
            break
        if kinds != {list} or len(set(map(len, level))) > 1:
            raise BadTensor(f"{name}.data", "rows of one length", "a ragged list")
        level = list(chain.from_iterable(level))
    else:
        raise BadTensor(f"{name}.data", f"lists at most {_MAX_RANK} deep", "deeper ones")
    if not kinds <= _NUMBERS:
        raise BadTensor(f"{name}.data", "numbers or booleans", next(v for v in level if type(v) not in _NUMBERS))
    return level, kinds


def _exact(flat: list[int], dtype: np.dtype[Any], name: str) -> Array:
    low, high = min(flat), max(flat)
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= low <= high <= np.iinfo(dtype).max:
        raise BadTensor(f"{name}.data", f"values that fit {_NAMES[dtype]}", f"{low} to {high}")
    return np.array(flat, dtype=dtype)


def _cast_integers(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """JSON has one kind of integer: what fits in an unsigned type may be written there."""
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        return array
    raise BadTensor(f"{name}.data", f"values that fit {_NAMES[dtype]}", f"{array.dtype} values")


def _within(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    if dtype.kind in "iu" and array.size and array.dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise BadTensor(
                f"{name}.data", f"values from {limits.min} to {limits.max}", f"{array.min()} to {array.max()}"
            )
    within = _cast(array, dtype)
    return _finite(within, dtype, name, array) if dtype.kind == "f" else within


def _finite(within: Array, dtype: np.dtype[Any], name: str, given: Any) -> Array:
    """Refuses what a type can't hold, which becomes infinite when it is cast."""
    if not np.isfinite(within).all():
        limit, array = float(np.finfo(dtype).max), np.asarray(given)
        raise BadTensor(f"{name}.data", f"values from {-limit:g} to {limit:g}", f"{array.min()} to {array.max()}")
    return within


@np.errstate(over="ignore", invalid="ignore")
def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    return array.astype(dtype, copy=False)


def _encode(
    body: dict[str, Any], field_name: str, tensors: Mapping[str, Array], *, binary: bool
) -> tuple[bytes, int | None]:
    parts: list[bytes] = []
    described: list[dict[str, Any]] = []
    for name, array in tensors.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}
        if binary:
            data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
        elif array.dtype.kind == "f":
            flat = array.ravel()
            if not all(map(math.isfinite, _range(flat))):  # orjson would write null for all three
                raise BadTensor(
                    f"{field_name}.{name}.data",
                    "finite values in JSON; the binary form holds others",
                    "NaN or infinity",
                )
            half = array.dtype == np.float16  # orjson knows none
            tensor["data"] = flat.astype(np.float32) if half else flat
        else:
            tensor["data"] = array.ravel()
        described.append(tensor)
    body[field_name] = described
    head = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return (head + b"".join(parts), len(head)) if binary else (head, None)
