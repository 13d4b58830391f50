"""The one way a Python child process is started here: told its parent, its threads, its cores and its memory.

The parent's id goes along so that the child can ask the kernel to be ended with it (`process.die_with_parent`); one that is to
outlive its parent gets none, and whoever owns it says so in INFAAS_OWNER_PID (`process.end_with_owner`).
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

PARENT = "INFAAS_PARENT_PID"
Stream = int | IO[bytes] | None
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that libraries read the number of their threads from."""


def environment_of(threads: int, *, outlives: bool = False) -> dict[str, str]:
    """A child's environment: ours, who its parent is, and how many threads its libraries may have (0 = as they like).

    Args:
        threads: of each library.
        outlives: it goes on without us, so it has no parent.
    """
    libraries = dict.fromkeys(THREADS, str(threads)) if threads else {}
    inherited = {name: value for name, value in os.environ.items() if name != PARENT}
    return {**inherited, **({} if outlives else {PARENT: str(os.getpid())}), **libraries}


def spawn(
    module: str,
    *,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream = None,
    threads: int | None = None,
    cores: Sequence[int] = (),
    memory_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
    outlives: bool = False,
    new_session: bool = False,
    descriptors: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts `python -m module`.

    Args:
        module: to run.
        stdin: as subprocess has it; so are the next two.
        stdout: where it writes.
        stderr: where it logs; None = where we do.
        threads: of each linear algebra library; None = as many as cores are given, or as they like.
        cores: it is pinned to; none = not pinned.
        memory_bytes: how much writable memory of its own it may have, its children each as much; None = no limit. Linux only.
        environment: more of it; it wins.
        outlives: whether it goes on when we end.
        new_session: away from our terminal: its Ctrl-C is for us alone.
        descriptors: it has them as well, under the same numbers.

    Raises:
        OSError: if no process can be made.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**environment_of(threads or len(cores), outlives=outlives), **(environment or {})},
        start_new_session=new_session,
        pass_fds=descriptors,
    )
    with contextlib.suppress(OSError):  # it may have ended already; the exit says why
        if cores and sys.platform == "linux":
            os.sched_setaffinity(process.pid, cores)
        if memory_bytes is not None and sys.platform == "linux":
            # Not address space: engines map files and reserve far more of it than they use.
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    return process
