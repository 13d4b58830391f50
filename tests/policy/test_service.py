"""A service of a stack is started as every child is, away from the terminal, with what is said for it alone."""

import os
import time

from infaas.cli.stack import Service

PROBE = """
import os
names = ("MARK", "INFAAS_PARENT_PID", "HOME")
print(*(os.environ.get(name) for name in names), os.getsid(0) == os.getpid(), flush=True)
"""


def test_it_has_our_environment_and_its_own_and_a_session_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HOME", "home")
    service = Service("probe", "probe", {"MARK": "mark"}, tmp_path / "probe.log")
    service.start()
    service.join(time.monotonic() + 60.0)
    assert service.log.read_text().split() == ["mark", str(os.getpid()), "home", "True"]
    assert service.pid == 0
