"""What a list of processes shows of a copy: the command it would have been started with."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path


def retitle(module: str) -> None:
    """Shows this process as `python -m module`, in the room its command line has (Linux; elsewhere, or without room, nothing).

    Source: proc(5): fields 48 and 49 of /proc/self/stat say where the kernel reads a command line from.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # what stands before the bracket are two fields
        command = f"\0-m\0{module}\0".encode()
        room = end - start - len(command)
        if room > 0:
            # The end of the interpreter's path, so that the line fills its room exactly.
            path = sys.executable.encode()[-room:]
            ctypes.memmove(start, (path + command).ljust(end - start, b"\0"), end - start)
