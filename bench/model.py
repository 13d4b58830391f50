"""A small network with fixed weights, for benchmarks: what it takes matters, and what it answers is known."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from infaas.schemas.oip import Array

WIDTH, HIDDEN, CLASSES = 64, 512, 10
SLOW_HIDDEN, SLOW_LAYERS = 2048, 4


@dataclass(frozen=True, slots=True)
class Network:
    """Two layers, `scores = relu(x first) second`; and, for one that takes its time, some more between them."""

    first: Array
    second: Array
    between: tuple[Array, ...] = ()

    @classmethod
    def of(cls, *, noise: float = 0.0) -> Network:
        """The one network; with noise on its second layer it is one that is right less often."""
        rng = np.random.default_rng(0)
        first = rng.normal(size=(WIDTH, HIDDEN)).astype(np.float32) / 8
        second = rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32) / 20
        return cls(first, second + (noise * rng.normal(size=second.shape) / 20).astype(np.float32))

    @classmethod
    def slow(cls) -> Network:
        """One of some 12 ms a row on one core, and less than a fifth of that in a batch of 32."""
        rng = np.random.default_rng(0)
        first = rng.normal(size=(WIDTH, SLOW_HIDDEN)).astype(np.float32) / 8
        between = rng.normal(size=(SLOW_HIDDEN, SLOW_HIDDEN)).astype(np.float32) / 32
        second = rng.normal(size=(SLOW_HIDDEN, CLASSES)).astype(np.float32) / 20
        return cls(first, second, tuple(np.roll(between, n, axis=0) for n in range(SLOW_LAYERS)))

    def scores(self, x: Array) -> Array:
        """What it answers, `[rows, 10] float32`."""
        hidden = np.maximum(x @ self.first, 0)
        for layer in self.between:
            hidden = np.maximum(hidden @ layer, 0)
        answers: Array = hidden @ self.second
        return answers

    def onnx(self) -> bytes:
        """An ONNX file with input `x` and output `scores`."""
        from onnx import TensorProto, helper, numpy_helper

        weights = {"first": self.first, **{f"between{n}": layer for n, layer in enumerate(self.between)}}
        nodes, last = [], "x"
        for name in weights:
            nodes += [helper.make_node("MatMul", [last, name], [f"{name}.x"])]
            nodes += [helper.make_node("Relu", [f"{name}.x"], [f"{name}.y"])]
            last = f"{name}.y"
        graph = helper.make_graph(
            [*nodes, helper.make_node("MatMul", [last, "second"], ["scores"])],
            "bench",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", CLASSES])],
            [numpy_helper.from_array(values, name) for name, values in {**weights, "second": self.second}.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return bytes(model.SerializeToString())


def inputs(rows: int, *, seed: int = 1) -> Array:
    """Rows of input, `[rows, 64] float32`."""
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


def validation_of(network: Network, rows: int = 200) -> bytes:
    """A validation set on which this network is always right."""
    x = inputs(rows)
    packed = io.BytesIO()
    np.savez(packed, x=x, labels=network.scores(x).argmax(axis=1))
    return packed.getvalue()


def model_and_validation() -> tuple[bytes, bytes, Array]:
    """An ONNX file, a validation set it is right on, and one row of input `[1, 64] float32`."""
    network = Network.of()
    return network.onnx(), validation_of(network), inputs(1)
