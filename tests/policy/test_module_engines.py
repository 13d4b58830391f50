"""What the engines on PyTorch share, with a stand-in for the library: their tests on the real one are `make test-torch`."""

from contextlib import nullcontext

import numpy as np
import pytest

from infaas.engines.neuron import NeuronEngine
from infaas.engines.torch import TorchEngine
from infaas.schemas.errors import InferenceFailed

X = np.array([[1.0, 2.0]], np.float32)


class Tensor:
    def __init__(self, array):
        self.array = array

    def to(self, device):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.array


class Library:
    inference_mode = staticmethod(nullcontext)
    from_numpy = staticmethod(Tensor)


def loaded(make, module):
    engine = make()
    engine._torch, engine._module, engine._names = Library, module, ["x"]
    return engine


def double(x):
    return Tensor(x.array * 2)


ANSWERS = {
    "one tensor": (double, ["output0"]),
    "a tuple": (lambda x: (double(x), double(x)), ["output0", "output1"]),
    "a list": (lambda x: [double(x)], ["output0"]),
    "a dict": (lambda x: {"y": double(x)}, ["y"]),
}


@pytest.mark.parametrize("make", [TorchEngine, NeuronEngine])
@pytest.mark.parametrize(("module", "names"), ANSWERS.values(), ids=ANSWERS)
def test_every_output_comes_back_under_a_name(make, module, names):
    outputs = loaded(make, module).run({"x": X})
    assert list(outputs) == names
    for output in outputs.values():
        np.testing.assert_array_equal(output, 2 * X)


@pytest.mark.parametrize("make", [TorchEngine, NeuronEngine])
def test_a_batch_is_not_written_to_and_what_the_module_raises_is_that_batchs_failure(make):
    def spoil(x):
        x.array[:] = 0.0
        raise RuntimeError("no kernel for this")

    batch = np.frombuffer(X.tobytes(), np.float32).reshape(X.shape)
    with pytest.raises(InferenceFailed, match="no kernel for this"):
        loaded(make, spoil).run({"x": batch})
    np.testing.assert_array_equal(batch, X)


def test_neuron_takes_inputs_in_the_order_of_its_module_whatever_the_callers():
    engine = loaded(NeuronEngine, lambda a, b: (a, b))
    engine._names = ["a", "b"]
    outputs = engine.run({"b": X * 2, "a": X})
    np.testing.assert_array_equal(outputs["output1"], X * 2)
    with pytest.raises(InferenceFailed, match="are not those the module was traced with"):
        engine.run({"b": X, "c": X})
