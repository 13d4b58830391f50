"""A process that runs into its limit of memory or of disk, told as what it is.

Libraries say it in words of their own (`std::bad_alloc`), or take it for a bad model. What is told to people names the limit
and what to do about it; a disk is a reason that may pass, a model's need of memory is not.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from infaas.schemas.errors import StorageFull

MIB = 1024 * 1024
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Of a disk, of a user on it, of a file."""
_MEMORY_SIGNS = (
    "bad_alloc",
    "cannot allocate memory",
    "unable to allocate",
    "failed to allocate",
    "failed to map segment",
)


def memory_limit_bytes() -> int | None:
    """How much writable memory of its own this process may have, as `spawn` has limited it; None = no limit."""
    if sys.platform != "linux":
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if limit == resource.RLIM_INFINITY else limit


def lacks_memory(error: BaseException | str) -> bool:
    """Whether memory was refused, going by what was raised, what caused it, or what was said."""
    if isinstance(error, str):
        return any(sign in error.lower() for sign in _MEMORY_SIGNS)
    if isinstance(error, MemoryError) or lacks_memory(str(error)):
        return True
    return error.__cause__ is not None and lacks_memory(error.__cause__)


def told(error: BaseException | str, setting: str) -> str:
    """An error for people; where memory was refused it names the limit and the setting it comes from."""
    text = str(error) or type(error).__name__
    if not lacks_memory(error):
        return text
    limit = memory_limit_bytes()
    allowed = "this machine has left" if limit is None else f"its limit of {limit / MIB:.0f} MiB ({setting})"
    return f"it needs more memory than {allowed}: {text}"


def lacks_room(error: BaseException) -> bool:
    """Whether a file could not be written for want of room, going by what was raised or what caused it."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    return error.__cause__ is not None and lacks_room(error.__cause__)


def has_room(folder: Path, size_bytes: int) -> bool:
    """Whether a file of this size could be written to a folder now: it is tried, for a limit may be the user's or the file's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, max(1, size_bytes))
    except OSError as error:
        return error.errno not in NO_ROOM
    return True


def no_room(folder: Path, purpose: str) -> StorageFull:
    """The error for people: where, how much is left, what to do."""
    left = shutil.disk_usage(folder).free
    return StorageFull(
        f"no room in {folder} for {purpose}: {left / MIB:.1f} MiB are free there. Make some, or set INFAAS_WORKER_CACHE_DIR to a "
        "folder on a larger disk; it is tried again"
    )
