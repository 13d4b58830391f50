"""Looking at a model file: what it is taken for is what it is."""

import pytest
from models import VALIDATION

from infaas.registrar.check import _tensors
from infaas.schemas.errors import BadModel


@pytest.mark.parametrize("name", ["model.pt", "model.pt2", "model.onnx"])
def test_an_archive_as_torch_writes_them_is_told_what_to_do_about_it(tmp_path, name):
    (tmp_path / name).write_bytes(VALIDATION)  # a zip archive, too
    with pytest.raises(BadModel, match=r"torch\.onnx\.export.*zip archive"):
        _tensors(tmp_path / name)


def test_what_is_neither_is_no_onnx_model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"hello")
    with pytest.raises(BadModel, match="expected an ONNX model, not"):
        _tensors(tmp_path / "model.onnx")
