"""`python -m infaas.registrar.check`: looks at a model and a validation set, in a process that may die of them.

It fetches them, too: a large model takes longer to come and to be hashed than a leader may be silent.
In: one line of JSON, {parent, repository_url, cache_dir, artifact, validation_set, labels, max_artifact_bytes,
max_validation_bytes, memory_bytes, cpu_s}. Out: one line, {contract}, {error: {field, expected, found}} or {missing}.
"""

from __future__ import annotations

import resource
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from infaas.bus.repository import Repository
from infaas.host.process import die_with_parent
from infaas.schemas.conformity import check_tensor
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.errors import ArtifactError, BadInput, BadModel
from infaas.schemas.oip import DATATYPES, Array

LABELS = "labels"
ARCHIVE = "a zip archive, as torch.save, torch.jit.save and torch.export.save write them"
OLDEST_OPSET = 7  # older than what ONNX Runtime promises to run
PREDICTION = "integer labels of shape [rows], or float scores of shape [rows, classes]"


def check(order: Mapping[str, Any]) -> Contract:
    """The contract that a model and its validation set make.

    Raises:
        BadModel: naming the field and what was expected.
    """
    artifact, validation = _fetch(order, "artifact"), _fetch(order, "validation_set")
    if artifact.stat().st_size > order["max_artifact_bytes"]:
        raise BadModel("artifact", f"at most {order['max_artifact_bytes']} bytes", artifact.stat().st_size)
    inputs, outputs = _tensors(artifact)
    arrays = read_validation(validation, limit=order["max_validation_bytes"])
    _compare(inputs, arrays)
    return Contract(
        inputs=inputs, outputs=outputs, labels=tuple(order["labels"]), validation_digest=order["validation_set"]
    )


def _fetch(order: Mapping[str, Any], field: str) -> Path:
    repository = Repository(order["repository_url"])
    try:
        return repository.fetch(order[field], Path(order["cache_dir"]))
    except ArtifactError as error:
        raise BadModel(field, f"a digest that is in the repository {repository.url}", str(error)) from error


def _tensors(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    import onnx

    if zipfile.is_zipfile(path):  # what a parser of ONNX makes of it would not help anybody
        raise BadModel("artifact", "an ONNX model: export it with torch.onnx.export, naming its inputs", ARCHIVE)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BadModel("artifact", "an ONNX model", _first_line(error)) from error
    _refuse_external(model)  # before the checker, which would look for the files
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise BadModel("artifact", "an ONNX model", _first_line(error)) from error
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=OLDEST_OPSET)
    if opset < OLDEST_OPSET:
        raise BadModel("artifact.opset", f"opset {OLDEST_OPSET} or newer", opset)
    known = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(_spec("inputs", one) for one in model.graph.input if one.name not in known)
    outputs = tuple(_spec("outputs", one) for one in model.graph.output)
    if not inputs or not outputs:
        raise BadModel("artifact", "at least one input and one output", f"{len(inputs)} and {len(outputs)}")
    for side, specs in (("inputs", inputs), ("outputs", outputs)):
        for one in specs:
            if not one.shape or one.shape[0] != -1:
                raise BadModel(f"artifact.{side}.{one.name}.shape", "a first axis that is free (rows)", list(one.shape))
    if not any(predicts(one) for one in outputs):
        raise BadModel("artifact.outputs", PREDICTION, [f"{o.name} {o.datatype} {list(o.shape)}" for o in outputs])
    return inputs, outputs


def predicts(one: TensorSpec) -> bool:
    """Whether a prediction can be read from an output: integer labels, or float scores by class."""
    labels = one.datatype.startswith(("INT", "UINT")) and (len(one.shape) == 1 or one.shape[1:] in ((1,), (-1,)))
    return labels or (one.datatype.startswith("FP") and len(one.shape) == 2)


def _refuse_external(model: Any) -> None:
    """A file that points at other files would be read from whatever lies beside it where it is loaded."""
    from onnx.external_data_helper import uses_external_data

    for graph in _graphs(model.graph):
        tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
        outside = next((t.name for t in tensors if uses_external_data(t)), None)
        if outside is not None:
            raise BadModel("artifact", "an ONNX model in one file, without external data", outside)


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs(inner)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _spec(side: str, one: Any) -> TensorSpec:
    import onnx

    where = f"artifact.{side}.{one.name}"
    if not one.type.HasField("tensor_type"):
        raise BadModel(where, "a tensor (export without ZipMap)", one.type.WhichOneof("value"))
    kind = one.type.tensor_type
    if kind.elem_type == onnx.TensorProto.STRING or kind.elem_type not in onnx.helper.get_all_tensor_dtypes():
        raise BadModel(
            f"{where}.datatype", "one of " + ", ".join(DATATYPES), onnx.TensorProto.DataType.Name(kind.elem_type)
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    name = next((n for n, d in DATATYPES.items() if d == dtype), None)
    if name is None:
        raise BadModel(f"{where}.datatype", "one of " + ", ".join(DATATYPES), str(dtype))
    if not kind.HasField("shape"):
        raise BadModel(f"{where}.shape", "a shape of known rank", "none")
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in kind.shape.dim)
    return TensorSpec(name=one.name, datatype=name, shape=shape)


def read_validation(path: Path, *, limit: int) -> dict[str, Array]:
    """The arrays of a validation set; nothing pickled is read.

    Raises:
        BadModel: if it is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > limit:
            raise BadModel("validation_set", f"at most {limit} bytes unpacked", size)
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
        raise BadModel("validation_set", "an .npz file of plain arrays", str(error)) from error


def _compare(inputs: tuple[TensorSpec, ...], arrays: Mapping[str, Array]) -> None:
    expected = {spec.name for spec in inputs} | {LABELS}
    if set(arrays) != expected:
        raise BadModel("validation_set", f"exactly the arrays {sorted(expected)}", sorted(arrays))
    labels = arrays[LABELS]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise BadModel("validation_set.labels", "integers, one for each row", f"{labels.dtype} {list(labels.shape)}")
    for spec in inputs:
        try:
            check_tensor(spec, arrays[spec.name])
        except BadInput as error:
            field = error.field.replace("inputs.", "validation_set.", 1)
            raise BadModel(field, error.expected, error.found) from error
        if len(arrays[spec.name]) != len(labels):
            raise BadModel(f"validation_set.{spec.name}", f"{len(labels)} rows, as labels has", len(arrays[spec.name]))


def main() -> int:
    """Reads the order, prints what was found."""
    order = orjson.loads(sys.stdin.buffer.readline())
    die_with_parent(order["parent"])
    memory, cpu = order["memory_bytes"], int(order["cpu_s"])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    try:
        found: dict[str, Any] = {"contract": check(order).model_dump(mode="json")}
    except BadInput as error:
        found = {"error": {"field": error.field, "expected": error.expected, "found": str(error.found)}}
    except ImportError as error:
        found = {"missing": f"{error.name} is not installed: `pip install infaas[registrar]`"}
    except MemoryError:
        found = {"error": {"field": "artifact", "expected": f"a model that fits in {memory} bytes", "found": "more"}}
    sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
