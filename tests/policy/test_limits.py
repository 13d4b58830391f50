"""Running into a limit, told as what it is: the limit and its setting are named, and a disk is tried by writing to it."""

import resource
import subprocess
import sys

import pytest

from infaas.host.limits import has_room, lacks_memory, lacks_room, no_room, told
from infaas.schemas.errors import BadModel, InferenceFailed

MIB = 1024 * 1024
CODE = """
import numpy as np
from infaas.host.limits import told
from infaas.schemas.errors import InferenceFailed
try:
    np.zeros(1 << 34)
except MemoryError as error:
    print(told(error, "A_SETTING"))
"""


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(MemoryError(), id="Python's own"),
        pytest.param(InferenceFailed("RUNTIME_EXCEPTION : Status Message: std::bad_alloc"), id="ONNX Runtime's"),
        pytest.param(caused(BadModel("artifact", "an ONNX model"), MemoryError()), id="behind an error of ours"),
        pytest.param(ImportError("libx.so: failed to map segment from shared object"), id="the loader's"),
    ],
)
def test_memory_that_was_refused_is_seen_in_whatever_words(error):
    assert lacks_memory(error)
    assert not lacks_room(error)


def test_what_has_nothing_to_do_with_memory_is_left_as_it_is():
    error = BadModel("artifact", "an ONNX model", "hello")
    assert told(error, "A_SETTING") == str(error)


def test_the_limit_is_named_with_its_setting():
    limited = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (800 * MIB, 800 * MIB)),
    )  # fmt: skip
    assert "more memory than its limit of 800 MiB (A_SETTING): Unable to allocate" in limited.stdout


def test_a_file_that_is_too_large_for_its_limit_has_no_room_and_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        assert has_room(tmp_path, MIB)
        assert not has_room(tmp_path, 2 * MIB)
        with pytest.raises(OSError) as failed, (tmp_path / "part").open("wb", buffering=0) as file:  # noqa: PT011, PT012 - the second write fails
            file.write(bytes(MIB))
            file.write(b"more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert lacks_room(caused(BadModel("artifact", "a model"), failed.value))
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
    error = no_room(tmp_path, "a build")
    assert error.retryable
    for word in (str(tmp_path), "a build", "MiB are free", "INFAAS_WORKER_CACHE_DIR"):
        assert word in str(error)
