"""A small network with fixed weights, for benchmarks: what it answers does not matter, what it takes does."""

from __future__ import annotations

import io

import numpy as np

from infaas.schemas.oip import Array

WIDTH, HIDDEN, CLASSES = 64, 512, 10


def model_and_validation(rows: int = 200) -> tuple[bytes, bytes, Array]:
    """An ONNX file, a validation set it is right on, and one row of input `[1, 64] float32`."""
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    first = rng.normal(size=(WIDTH, HIDDEN)).astype(np.float32) / 8
    second = rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32) / 20
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "second"], ["scores"]),
        ],
        "bench",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", CLASSES])],
        [
            helper.make_tensor("first", TensorProto.FLOAT, first.shape, first.ravel()),
            helper.make_tensor("second", TensorProto.FLOAT, second.shape, second.ravel()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    labels = (np.maximum(x @ first, 0) @ second).argmax(axis=1)
    packed = io.BytesIO()
    np.savez(packed, x=x, labels=labels)
    return model.SerializeToString(), packed.getvalue(), x[:1]
