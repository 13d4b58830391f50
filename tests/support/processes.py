"""Starting processes that don't outlive a test, and looking for what a test may have left behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

LEASHED = Path(__file__).with_name("leashed.py")


def start(command, **options):
    """Starts a process that ends with this one, even if this one is killed; options are those of `subprocess.Popen`."""
    return subprocess.Popen([sys.executable, "-I", "-S", str(LEASHED), *map(str, command)], **options)


def family(pid):
    """A process and all its descendants, as they are now."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def left_of(processes, timeout=30.0):
    """Those that are still there after a while."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        there = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not there:
            return []
        time.sleep(0.1)
    return there


def freeze(pid, timeout=10.0):
    """Stops a process and returns when all of it stands still.

    The kernel stops it when the thread that it picks for the signal next runs: on a busy machine the others go on until then.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + timeout
    while not all(_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"{pid} does not stand still"
        time.sleep(0.002)


@contextmanager
def stopped(process):
    """One that stands still, such as a broker: connections stay, and nothing answers; then it goes on."""
    freeze(process.pid)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _stopped(task):
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:
        return True  # it has ended
