"""A child that a fork server made, with what the rest of us needs of `subprocess.Popen`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import IO

UNKNOWN = 1
"""The status of a child that somebody else has waited for."""
LOOK_S = 0.005


class Forked:
    """A child of this process that was not started by it.

    Args:
        pid: its process id.
        stdin: a descriptor that writes to its input.
        stdout: a descriptor that reads its output.
    """

    def __init__(self, pid: int, *, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb")
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status; negative: the signal it died of; None: it runs."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._status = UNKNOWN
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(LOOK_S)
        return status

    def kill(self) -> None:
        """Ends it at once."""
        if self.poll() is None:  # not waited for, so nobody else has its id
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
