"""The state of a child, in memory that its supervisor reads when it looks.

What a child says over its stream wakes its supervisor, which for a small model is dearer than the batch that is announced: on a
full machine the two take turns. A state is not news: only the newest counts, and nobody has to be woken for it. Here it also stays
when the child is killed, so that its last one is what it died in.

One writes, one reads. There are two places; the newest state is in the one that the count says, and is complete before it says so.
A reader that was overtaken twice while it read sees it by the checksum, and reads again.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from zlib import crc32

ENVIRONMENT = "INFAAS_BOARD"
"""Where a child finds the descriptor of its own."""
PLACE_BYTES = 1 << 18
"""A state may be so large: that of an instance that owns ten thousand partitions."""
ATTEMPTS = 100
_COUNT = struct.Struct("@Q")
"""Native: written in one go."""
_HEAD = struct.Struct("=II")


class Board:
    """One piece of shared memory.

    Args:
        descriptor: of the memory; it may be closed afterwards.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _COUNT.size + 2 * (_HEAD.size + PLACE_BYTES))
        (self._count,) = _COUNT.unpack_from(self._memory, 0)

    def write(self, state: bytes) -> None:
        """Puts up a state in place of the one before.

        Raises:
            ValueError: it is too large.
        """
        if len(state) > PLACE_BYTES:
            raise ValueError(f"a state of {len(state)} bytes, the limit is {PLACE_BYTES}")
        count = self._count + 1
        at = _place(count)
        _HEAD.pack_into(self._memory, at, len(state), crc32(state))
        self._memory[at + _HEAD.size : at + _HEAD.size + len(state)] = state
        _COUNT.pack_into(self._memory, 0, count)
        self._count = count

    def news(self) -> bytes | None:
        """The newest state, if it is another than when this was last asked."""
        for _ in range(ATTEMPTS):
            (count,) = _COUNT.unpack_from(self._memory, 0)
            if count == self._count:
                return None
            at = _place(count)
            length, checksum = _HEAD.unpack_from(self._memory, at)
            state = self._memory[at + _HEAD.size : at + _HEAD.size + min(length, PLACE_BYTES)]
            if crc32(state) == checksum:
                self._count = count
                return state
        return None  # at the next look

    def close(self) -> None:
        """Lets go of the memory."""
        self._memory.close()


def memory() -> int:
    """A descriptor of memory for a board, which goes when nobody has it any more.

    Raises:
        OSError: there is none to be had.
    """
    size = _COUNT.size + 2 * (_HEAD.size + PLACE_BYTES)
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("infaas-board")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _place(count: int) -> int:
    return _COUNT.size + (count % 2) * (_HEAD.size + PLACE_BYTES)
