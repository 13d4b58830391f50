"""Lines of JSON between a supervisor and its children, over their standard streams (`messages` says which).

A child that reads the end of its input has lost its supervisor, and ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from infaas.host.messages import TO_CHILD, Message, ToChild

log = logging.getLogger(__name__)
_TELLING = threading.Lock()  # a long line of one thread is not cut by one of another
M = TypeVar("M", bound=Message)


class Inbox(Generic[M]):
    """Messages of a stream, read by a thread; `closed` when the other end is gone.

    Args:
        descriptor: of the stream.
        kinds: what may come; anything else is logged and passed over.
    """

    def __init__(self, descriptor: int, kinds: TypeAdapter[M]) -> None:
        self._kinds = kinds
        self._messages: queue.SimpleQueue[M] = queue.SimpleQueue()
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
                    self._put(line)
        self.closed = True

    def _put(self, line: bytes) -> None:
        try:
            self._messages.put(self._kinds.validate_json(line))
        except ValidationError as error:
            log.warning("a message that can't be read", extra={"line": line[:200], "error": str(error)})

    def take(self) -> list[M]:
        """What has come since."""
        out = []
        while not self._messages.empty():
            out.append(self._messages.get())
        return out

    def wait(self, timeout: float | None) -> M | None:
        """The next message, or None if none comes in time."""
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            return None

    def join(self) -> None:
        """Waits for the end of the stream, so that nothing a dead child said is missed."""
        self._thread.join(2.0)


def child_channel() -> tuple[Inbox[ToChild], int]:
    """For a child: its inbox, and the descriptor its messages go to.

    Standard output is pointed at standard error, so that no library can print into the channel.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    return Inbox(0, TO_CHILD), out


def line_of(message: Message) -> bytes:
    """A message as it goes over the stream."""
    return message.model_dump_json().encode() + b"\n"


def tell(descriptor: int, message: Message) -> None:
    """Writes one message; a supervisor that is gone is noticed by the inbox."""
    with _TELLING, contextlib.suppress(OSError):
        os.write(descriptor, line_of(message))
