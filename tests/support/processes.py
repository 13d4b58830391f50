"""Looking for what a test may have left behind."""

import time

import psutil


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
