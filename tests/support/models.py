"""Small real models, and validation sets for them."""

import io

import numpy as np
from onnx import TensorProto, helper

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(4, 3)).astype(np.float32)


def classifier() -> bytes:
    """scores = x W: a MatMul, so int8 applies."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, [4, 3], WEIGHTS.ravel())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def tree() -> bytes:
    """Only operators of ai.onnx.ml: nothing for int8 to do."""
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", coefficients=WEIGHTS.T.ravel().tolist(),
        intercepts=[0.0, 0.0, 0.0], classlabels_ints=[0, 1, 2], multi_class=1,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "ml",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def validation(rows=100, width=4, **more) -> bytes:
    x = RNG.normal(size=(rows, width)).astype(np.float32)
    labels = (x[:, :4] @ WEIGHTS[:width]).argmax(axis=1) if width == 4 else np.zeros(rows, np.int64)
    out = io.BytesIO()
    np.savez(out, **{"x": x, "labels": labels, **more})
    return out.getvalue()


VALIDATION = validation()
