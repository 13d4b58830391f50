"""The torch engine on real PyTorch: what it loads, what it gives, and that one bad batch is that batch's failure alone."""

import numpy as np
import pytest

from infaas.engines import engine
from infaas.schemas.errors import BadModel, InferenceFailed, MissingDependency

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*torch.jit"),  # what an artifact is, until it is none any more
]
X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)


@pytest.fixture(params=["model.pt", "model.pt2"])
def artifact(request, tmp_path):
    """x → (x + x, row sums), as TorchScript and as an exported program."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x):
            return x + x, x.sum(1)

    path = tmp_path / request.param
    if path.suffix == ".pt":
        torch.jit.trace(Module(), torch.ones(2, 2)).save(path)
    else:
        rows = {"x": {0: torch.export.Dim("rows")}}
        torch.export.save(torch.export.export(Module(), (), {"x": torch.ones(2, 2)}, dynamic_shapes=rows), path)
    return path


@pytest.fixture
def loaded(artifact):
    one = engine("torch")
    one.load(artifact, platform="cpu", cores=1)
    yield one
    one.close()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_every_output_comes_back_under_a_name_for_any_number_of_rows(loaded, rows):
    outputs = loaded.run({"x": X[:rows]})
    assert sorted(outputs) == ["output0", "output1"]
    np.testing.assert_array_equal(outputs["output0"], 2 * X[:rows])
    np.testing.assert_array_equal(outputs["output1"], X[:rows].sum(1))


@pytest.mark.parametrize("wrong", [{"y": X}, {"x": X, "y": X}, {}], ids=["another name", "one too many", "nothing"])
def test_a_batch_that_it_refuses_fails_alone(loaded, wrong):
    with pytest.raises(InferenceFailed):
        loaded.run(wrong)
    np.testing.assert_array_equal(loaded.run({"x": X})["output1"], X.sum(1))


def test_a_read_only_batch_is_not_written_to(loaded):
    """Batches are views of a record's bytes."""
    batch = np.frombuffer(X.tobytes(), np.float32).reshape(X.shape)
    np.testing.assert_array_equal(loaded.run({"x": batch})["output0"], 2 * X)


def test_it_runs_on_as_many_threads_as_it_has_cores(loaded):
    import torch

    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04N."], ids=["empty", "text", "a pickle"])
def test_what_is_no_model_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadModel, match="TorchScript file or an exported program"):
        engine("torch").load(tmp_path / name, platform="cpu", cores=1)


def test_a_program_exported_with_positional_inputs_is_refused_when_it_is_loaded(tmp_path):
    import torch

    class Module(torch.nn.Module):
        def forward(self, x):
            return x + x

    torch.export.save(torch.export.export(Module(), (torch.ones(2, 2),)), tmp_path / "model.pt2")
    with pytest.raises(BadModel, match=r"inputs by name.*1 positional"):
        engine("torch").load(tmp_path / "model.pt2", platform="cpu", cores=1)


def test_a_device_that_is_not_here_is_refused_and_nothing_falls_back(artifact):
    import torch

    assert not torch.cuda.is_available()
    with pytest.raises(MissingDependency, match="CUDA"):
        engine("torch").load(artifact, platform="cuda", cores=1)
    with pytest.raises(MissingDependency, match="not on neuron"):
        engine("torch").load(artifact, platform="neuron", cores=1)
