"""How a process ended, for people: a signal by its name, with what it usually means."""

from __future__ import annotations

import signal

USUALLY = {
    signal.SIGABRT: "a library gave up by itself, often for want of memory or of something that it found broken",
    signal.SIGBUS: "a file that was mapped into memory was cut off, or its disk is full",
    signal.SIGFPE: "a division that the processor can't do",
    signal.SIGILL: "a library made for another processor",
    signal.SIGKILL: "the kernel or the container ran out of memory, or somebody killed it",
    signal.SIGSEGV: "a defect of a library, or a model that it can't read",
    signal.SIGTERM: "somebody stopped it",
}


def ending(status: int) -> str:
    """What to say of it after its name: `ended with status 1`, `was killed by SIGKILL (mostly: the kernel or …)`.

    Args:
        status: as `subprocess` has it: below 0 it is a signal's number.
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        number = signal.Signals(-status)
    except ValueError:
        return f"was killed by signal {-status}"
    meaning = USUALLY.get(number)
    return f"was killed by {number.name}" + (f" (mostly: {meaning})" if meaning else "")
