"""Engines whose library or device is not here say so, and how to get it; none falls back to the CPU."""

import sys

import pytest

from infaas.engines import engine, neuron
from infaas.engines.cudart import Cuda
from infaas.engines.neuron import NeuronEngine
from infaas.engines.tensorrt import TensorRtEngine, build_plan
from infaas.schemas.errors import MissingDependency

STUB = "raise RuntimeError('this package is only a placeholder')"


@pytest.fixture(autouse=True)
def no_trace(monkeypatch):
    """Loading asks Neuron's runtime for one core, through the environment."""
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "1")


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "artifact"
    path.write_bytes(b"\x08\x08")
    return path


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Installs stand-ins for packages that are not here, as a vendor's stub would be."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield install
    for name in ("tensorrt", "torch", "torch_neuronx"):
        sys.modules.pop(name, None)


def test_tensorrt_says_what_is_missing(artifact):
    with pytest.raises(MissingDependency, match=r"NVIDIA GPU .*pip install infaas\[tensorrt\]"):
        TensorRtEngine().load(artifact, platform="tensorrt", cores=1)
    with pytest.raises(MissingDependency, match="TensorRT is not usable here"):
        build_plan(b"\x08\x08")


def test_cuda_says_what_is_missing():
    with pytest.raises(MissingDependency, match="cuda-python"):
        Cuda.open()


def test_neuron_says_what_is_missing(artifact):
    with pytest.raises(MissingDependency, match=r"torch_neuronx is not usable here.*pip install infaas\[neuron\]"):
        NeuronEngine().load(artifact, platform="neuron", cores=1)


@pytest.mark.parametrize(
    ("source", "said"),
    [(STUB, "placeholder"), ("", "a stub"), ("OnnxParser, __version__ = object, '8.6.1'", "not 8.6.1")],
    ids=["raises when imported", "is empty", "is too old"],
)
def test_a_stub_of_tensorrt_is_no_tensorrt(artifact, packages, source, said):
    packages("tensorrt", source)
    with pytest.raises(MissingDependency, match=said):
        TensorRtEngine().load(artifact, platform="tensorrt", cores=1)


@pytest.mark.parametrize(
    ("source", "said"), [(STUB, "placeholder"), ("", "only a stub")], ids=["raises when imported", "is empty"]
)
def test_a_stub_of_torch_neuronx_is_no_torch_neuronx(artifact, packages, source, said):
    packages("torch", "")
    packages("torch_neuronx", source)
    with pytest.raises(MissingDependency, match=said):
        NeuronEngine().load(artifact, platform="neuron", cores=1)


def test_the_library_without_a_device_is_refused_and_does_not_run_on_the_cpu(artifact, packages, monkeypatch, tmp_path):
    packages("torch", "")
    packages("torch_neuronx", "trace = None")
    monkeypatch.setattr(neuron, "DEVICES", tmp_path)
    with pytest.raises(MissingDependency, match="/dev/neuron0"):
        NeuronEngine().load(artifact, platform="neuron", cores=1)


@pytest.mark.parametrize("make", [TensorRtEngine, NeuronEngine])
def test_another_platform_is_refused_by_name(artifact, make):
    with pytest.raises(MissingDependency, match="not on cpu"):
        make().load(artifact, platform="cpu", cores=1)


def test_an_engine_nobody_has_names_those_there_are():
    with pytest.raises(MissingDependency, match=r"no engine 'abacus'; installed are: .*onnxruntime"):
        engine("abacus")
