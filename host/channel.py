"""Lines of JSON between a supervisor and its children, over their standard streams.

A child that reads the end of its input has lost its supervisor, and ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import Any

import orjson

Message = dict[str, Any]


class Inbox:
    """Messages of a stream, read by a thread; `closed` when the other end is gone."""

    def __init__(self, descriptor: int) -> None:
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.closed = False
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def _read(self, descriptor: int) -> None:
        # Unbuffered: a thread inside a buffered reader would hold its lock when the process ends.
        rest = b""
        with contextlib.suppress(OSError):
            while chunk := os.read(descriptor, 1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._messages.put(orjson.loads(line))
        self.closed = True

    def take(self) -> list[Message]:
        """What has come since."""
        out = []
        while not self._messages.empty():
            out.append(self._messages.get())
        return out

    def wait(self, timeout: float | None) -> Message | None:
        """The next message, or None if none comes in time."""
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            return None

    def join(self) -> None:
        """Waits for the end of the stream, so that nothing a dead child said is missed."""
        self._thread.join(2.0)


def child_channel() -> tuple[Inbox, int]:
    """For a child: its inbox, and the descriptor its messages go to.

    Standard output is pointed at standard error, so that no library can print into the channel.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    return Inbox(0), out


def tell(descriptor: int, message: Message) -> None:
    """Writes one message; a supervisor that is gone is noticed by the inbox."""
    with contextlib.suppress(OSError):
        os.write(descriptor, orjson.dumps(message) + b"\n")
