"""No caller's input changes another's answer: what a build finds out about its artifact, on real engines."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import classifier, validation
from onnx import TensorProto, helper

from infaas.engines import engine
from infaas.registrar.accuracy import accuracy, predictions
from infaas.registrar.check import read_validation
from infaas.registrar.generate import generate
from infaas.registrar.generators.generator import generator
from infaas.registrar.invariance import changed_by
from infaas.schemas.contract import Contract, TensorSpec


def contract(*inputs, outputs=("scores", "FP32", (-1, 3))):
    return Contract(
        inputs=tuple(TensorSpec(name=n, datatype=d, shape=s) for n, d, s in inputs),
        outputs=(TensorSpec(name=outputs[0], datatype=outputs[1], shape=outputs[2]),),
        validation_digest="sha256:" + "0" * 64,
    )


LINEAR = contract(("x", "FP32", (-1, 4)))


def loaded(path: Path):
    one = engine("onnxruntime")
    one.load(path, platform="cpu", cores=1)
    return one


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "validation.npz"
    path.write_bytes(validation())
    return read_validation(path, limit=1 << 20)


@pytest.fixture
def made(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(classifier())

    def make(name):
        generator(name).generate(source, tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize("hostile", [1e4, float("nan"), float("inf")])
def test_a_neighbour_of_int8_decides_about_everybody_and_of_fp32_about_nobody(made, rows, hostile):
    """The harm itself: one more row in each batch."""
    agreements = {}
    for name in ("onnx", "int8"):
        one = loaded(made(name))
        alone = predictions(one, LINEAR, rows, batch=1)
        beside = []
        for at in range(len(rows["x"])):
            batch = np.stack([rows["x"][at], np.full(4, hostile, np.float32)])
            beside.append(int(np.asarray(one.run({"x": batch})["scores"])[0].argmax()))
        agreements[name] = accuracy(np.array(beside), alone)
    assert agreements["onnx"] == 1.0
    assert agreements["int8"] < 0.8


def test_the_build_finds_it_out(made, rows):
    assert changed_by(loaded(made("onnx")), LINEAR, rows) == ""
    assert changed_by(loaded(made("int8")), LINEAR, rows).startswith("rows of")


def test_what_is_found_out_is_told_and_scored_as_it_will_serve(made, tmp_path):
    (tmp_path / "validation").write_bytes(validation())
    order = {
        "source": str(tmp_path / "source"), "target": str(tmp_path / "artifact"), "sample": str(tmp_path / "sample.npz"),
        "sample_rows": 4, "validation": str(tmp_path / "validation"), "contract": LINEAR.model_dump(mode="json"),
        "engine": "onnxruntime", "platform": "cpu", "cores": 1, "generator": "int8",
    }  # fmt: skip
    made("onnx")
    found = generate(order)
    assert found["changed_by"]
    assert found["agreement"] > 0.9
    assert generate({**order, "sample_rows": 1})["changed_by"] == "", "who forms no batches needs no check"
    assert generate({**order, "generator": "onnx"})["changed_by"] == ""


def graph_of(nodes, inputs, initializers=()):
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])], list(initializers)
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_an_operator_over_the_whole_batch_is_found_whatever_the_precision(tmp_path):
    """y = x - mean of the batch."""
    path = tmp_path / "mean"
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["scores"]),
    ]
    path.write_bytes(graph_of(nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])]))
    rows = {"x": np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)}
    assert changed_by(loaded(path), contract(("x", "FP32", (-1, 3))), rows)


def test_integers_that_the_engine_refuses_change_nobodys_answer(tmp_path):
    """An embedding: an index beyond its table is refused, and then each query is run by itself."""
    path = tmp_path / "embedding"
    table = helper.make_tensor("table", TensorProto.FLOAT, [5, 3], np.arange(15, dtype=np.float32))
    nodes = [helper.make_node("Gather", ["table", "i"], ["scores"], axis=0)]
    path.write_bytes(graph_of(nodes, [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])], [table]))
    rows = {"i": np.arange(5, dtype=np.int64)}
    assert changed_by(loaded(path), contract(("i", "INT64", (-1,))), rows) == ""
