"""A model that needs more memory than it may have, and a disk that is full: told as what they are, and nobody else's affair."""

import contextlib
import resource
import subprocess

import numpy as np
import pytest
from cell import VARIANT, Cell, doubling_model
from models import WEIGHTS
from office import Office
from onnx import TensorProto, helper

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.registrar.loop import Registrar
from infaas.registrar.settings import RegistrarSettings
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

MIB = 1024 * 1024
LIMIT_MIB = 700
HUGE = 400_000_000
"""Values of 4 bytes: more than any limit here, and refused before a page of it is touched."""
HIDDEN = 60_000


def oversized(inputs=4, outputs="scores") -> bytes:
    """Its weights are nothing, and every batch allocates 1.6 GB: the size is computed as it runs, so nobody folds it away."""
    integers = {"first": [0], "nothing": [0], "huge": [HUGE]}
    weights = np.eye(inputs, 3 if outputs == "scores" else inputs, dtype=np.float32)
    nodes = [
        ("Shape", ["x"], "shape"), ("Gather", ["shape", "first"], "rows"), ("Mul", ["rows", "nothing"], "zero"),
        ("Add", ["zero", "huge"], "size"), ("ConstantOfShape", ["size"], "block"),
        ("Size", ["block"], "count"), ("Mul", ["count", "nothing"], "none"), ("Cast", ["none"], "nought"),
        ("MatMul", ["x", "w"], "raw"), ("Add", ["raw", "nought"], outputs),
    ]  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node(kind, given, [made], **({"to": TensorProto.FLOAT} if kind == "Cast" else {}))
            for kind, given, made in nodes
        ],
        "oversized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info(outputs, TensorProto.FLOAT, ["n", weights.shape[1]])],
        [helper.make_tensor(name, TensorProto.INT64, [1], values) for name, values in integers.items()]
        + [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def wide() -> bytes:
    """A classifier with 1.7 MB of weights."""
    first = np.zeros((4, HIDDEN), np.float32)
    first[:, :4] = np.eye(4)
    second = np.zeros((HIDDEN, 3), np.float32)
    second[:4] = WEIGHTS
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["scores"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.tobytes(), raw=True)
            for name, values in (("a", first), ("b", second))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.fixture
def office(settings, environment):
    made = Office(settings)
    made.others.append(Registrar(settings=settings, own=RegistrarSettings()))
    made.others.append(Scaler(settings=settings, own=ScalerSettings()))
    yield made
    for service in reversed(made.others):
        service.close()
    made.close()


def test_a_model_that_needs_more_memory_than_a_build_may_have_fails_with_the_limit_and_its_neighbours_live(office):
    own = WorkerSettings(name="w1", cores=2, build_limit_bytes=LIMIT_MIB * MIB)
    worker = Supervisor(settings=office.settings, own=own)
    office.others.append(worker)
    born = worker.boot_id
    office.register("huge", architecture="huge", model=oversized(), cores=(1,))
    office.register("small", cores=(1,), generators=("onnx",))
    office.until(lambda: office.state("huge") == (1, "failed"), "the end of what is too large", 150)
    office.until(lambda: office.state("linear") == (1, "ready"), "its neighbour", 150)
    variants = office.table.view().variants
    for name in ("huge.v1.onnxruntime-cpu1-fp32", "huge.v1.onnxruntime-cpu1-int8"):
        assert variants[name].state == "failed"
        assert f"limit of {LIMIT_MIB} MiB (INFAAS_WORKER_BUILD_LIMIT_BYTES)" in variants[name].reason
    assert f"limit of {LIMIT_MIB} MiB" in office.table.view().architectures["huge"].reason
    assert worker.boot_id == born


def test_an_instance_that_needs_more_memory_than_it_may_have_fails_with_the_limit_and_its_neighbour_lives(
    settings, environment
):
    cell, huge = Cell(settings), "huge.v1.onnxruntime-cpu1-fp32"
    admin = Admin(settings, client_id="test")
    for variant in (VARIANT, huge):
        admin.ensure_variant_topics(variant)
    admin.close()
    cell.publish(Repository().put(doubling_model()))
    cell.publish(Repository().put(oversized(inputs=2, outputs="y")), huge)
    cell.others.append(Supervisor(settings=settings, own=WorkerSettings(name="w1", cores=2)))
    for variant in (VARIANT, huge):
        cell.place("w1", 1, variant)

    def instance(variant):
        return cell.table.view().instances.get(("w1", variant, 0))

    cell.until(lambda: (fact := instance(huge)) and fact.state == "failed", "the end of what is too large", 150)
    assert "limit of 10" in instance(huge).reason
    assert "MiB (INFAAS_WORKER_MEMORY_FACTOR)" in instance(huge).reason
    cell.until(lambda: (fact := instance(VARIANT)) and fact.state == "active", "its neighbour")
    cell.others.pop().close()
    cell.close()


@contextlib.contextmanager
def small_disk(folder):
    """A disk of 4 MiB of which 2 are free, and how to make room; where this user may mount none, files end at 1 MiB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "infaas-test", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if mounted:
        filler = folder / "filler"
        filler.write_bytes(bytes(2 * MIB))
        try:
            yield filler.unlink
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_build_on_a_full_disk_says_so_and_goes_on_when_there_is_room(office, tmp_path):
    name, disk = "wide.v1.onnxruntime-cpu1-fp32", tmp_path / "disk"
    office.register("wide", architecture="wide", model=wide(), cores=(1,), generators=("onnx",))
    with small_disk(disk) as make_room:
        own = WorkerSettings(name="w1", cores=1, cache_dir=disk / "cache")
        worker = Supervisor(settings=office.settings, own=own)
        office.others.append(worker)
        office.until(lambda: "no room" in reason_of(office, name), "the reason", 150)
        assert reason_of(office, name).startswith("w1: no room ")
        assert str(disk) in reason_of(office, name)
        assert office.table.view().variants[name].state == "building"
        make_room()
        office.until(lambda: office.state("wide") == (1, "ready"), "the variant", 150)
        assert reason_of(office, name) == ""
        office.others.remove(worker)
        worker.close()


def reason_of(office, name):
    variant = office.table.view().variants.get(name)
    return variant.reason if variant else ""
