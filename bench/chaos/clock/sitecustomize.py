"""A wall clock that can be wrong: Python imports this module first in every process that has its folder on the path.

`time.time` is off by as many seconds as the file named by INFAAS_CHAOS_CLOCK says, read again as time goes on; monotonic time,
and the clock of the C library, are left alone.
"""

import os
import time

_EVERY_S = 0.05
_real, _monotonic = time.time, time.monotonic


def _shift(path: str) -> None:
    offset, read_again = 0.0, 0.0

    def shifted() -> float:
        nonlocal offset, read_again
        now = _monotonic()
        if now >= read_again:
            read_again = now + _EVERY_S
            try:
                with open(path, encoding="ascii") as file:  # noqa: PTH123 - nothing else may be imported this early
                    offset = float(file.read() or 0)
            except (OSError, ValueError):
                offset = 0.0
        return _real() + offset

    time.time = shifted
    time.time_ns = lambda: int(shifted() * 1e9)


if "INFAAS_CHAOS_CLOCK" in os.environ:
    _shift(os.environ["INFAAS_CHAOS_CLOCK"])
