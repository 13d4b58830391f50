"""What an instance costs beside its model is measured as it serves, and once a machine."""

import numpy as np

from infaas.policy.capacity import capacity
from infaas.registrar.path import Paths
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.profile import BatchPoint, PathCost, Profile

CONTRACT = Contract(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),),
    outputs=(TensorSpec(name="y", datatype="INT64", shape=(-1,)),),
    validation_digest="sha256:" + "0" * 64,
)


def sample(folder, rows=4):
    path = folder / "sample.npz"
    np.savez(path, np.random.default_rng(1).random((rows, 64), dtype=np.float32))
    return path


def test_it_is_measured_with_the_instances_own_code_and_then_known(tmp_path, monkeypatch):
    monkeypatch.setenv("INFAAS_BOOTSTRAP_SERVERS", "127.0.0.1:1")  # no cell is asked
    monkeypatch.setenv("INFAAS_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    paths = Paths(tmp_path / "paths")
    found = paths.cost(CONTRACT, sample(tmp_path), 16)
    assert found.query_ms > 0.005
    tiny = BatchPoint(batch=16, p50_ms=0.01, p99_ms=0.01)
    profile = Profile(load_ms=1, peak_memory_bytes=1, accuracy=1, points=(tiny,), slope=0, intercept=0, path=found)
    assert 200 < capacity(profile) < 200_000
    assert paths.cost(CONTRACT, tmp_path / "nobody reads this", 16) == found


def test_what_can_not_be_measured_fails_nothing_and_is_tried_again(tmp_path):
    paths = Paths(tmp_path / "paths")
    assert paths.cost(CONTRACT, tmp_path / "missing", 1) == PathCost()
    assert paths.cost(CONTRACT, sample(tmp_path), 1).query_ms > 0.005
