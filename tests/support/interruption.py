"""An interrupted run tidies up as one that ends by itself does: SIGTERM ends it as Ctrl-C does, in every process of it.

1. SIGTERM raises in the test that runs, so that fixtures and context managers are left as after any other error.
2. What pytest-xdist runs are processes of ours that a signal to the run does not reach: it is passed on to them.
3. pytest-xdist kills a worker 10 s after the end of the run, whatever it does: the run ends when its workers have tidied up.
4. A worker whose run was killed is told so by the kernel.
"""

from __future__ import annotations

import ctypes
import signal
import sys

import psutil
import pytest

PR_SET_PDEATHSIG = 1
TIDY_S = 60.0
"""What a worker may take to stop its services and its Kafka; mostly a second or two."""


class Interruption:
    """A pytest plugin, registered by conftest.py."""

    def __init__(self) -> None:
        self._workers = []

    def pytest_sessionstart(self, session) -> None:
        signal.signal(signal.SIGTERM, end_run)
        if hasattr(session.config, "workerinput"):  # this is one of pytest-xdist's processes
            signal.signal(signal.SIGINT, end_run)
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node) -> None:
        self._workers.append(node)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus) -> None:
        if not self._workers or exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return
        for process in psutil.Process().children():
            process.terminate()
        for worker in self._workers:
            worker.channel.waitclose(TIDY_S)


def end_run(number, _frame) -> None:
    """Ends this process's part of the run; signals that come while it tidies up change nothing."""
    for repeated in (signal.SIGTERM, signal.SIGINT):
        signal.signal(repeated, lambda *_: None)
    raise KeyboardInterrupt(signal.Signals(number).name)
