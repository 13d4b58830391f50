"""Runs a command that gets SIGTERM when the process that started it dies: python leashed.py COMMAND..."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # survives the execvp below
    if os.getppid() != parent:
        sys.exit("the process that started this one has gone")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that runs the tests in its background has it ignored
    os.execvp(sys.argv[1], sys.argv[1:])
