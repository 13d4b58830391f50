"""What a child is told of its parent."""

import os
import subprocess

import pytest

from infaas.host.spawn import PARENT, spawn


@pytest.mark.parametrize("outlives", [False, True])
def test_a_child_is_told_its_parent_unless_it_outlives_it(outlives, tmp_path, monkeypatch):
    """Whoever runs us may have told us a parent of ours: that is nobody's of our children."""
    (tmp_path / "tell_parent.py").write_text(f"import os; print(os.environ.get({PARENT!r}), os.environ['MORE'])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(PARENT, "1")
    with spawn(
        "tell_parent", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, environment={"MORE": "x"}, outlives=outlives
    ) as child:
        told, _ = child.communicate(timeout=60)
    assert told.split() == [b"None" if outlives else str(os.getpid()).encode(), b"x"]
