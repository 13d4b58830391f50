"""How much memory this process has needed at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

KIB = 1024


def peak_bytes() -> int:
    """The peak of this process's resident memory.

    On Linux it is the kernel's high-water mark of this address space: `ru_maxrss` would begin with the memory of the process
    that started us, which is shared until the program is replaced.
    """
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * KIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB
