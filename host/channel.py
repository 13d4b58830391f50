"""Lines of JSON between a supervisor and its children, over their standard streams (`messages` says which).

What a child does at the moment is no line, but a state, and stands on its board.

A child that reads the end of its input has lost its supervisor, and ends: in good order if it can, within seconds in any case.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from infaas.host.board import ENVIRONMENT, Board
from infaas.host.deadlines import STOP_S
from infaas.host.messages import TO_CHILD, BatchBegan, BatchEnded, Message, ToChild

log = logging.getLogger(__name__)
JOIN_S = 1.0
GATHER_S = 0.005
"""What a busy child says in so long is read together: a reader that waited for each message would be woken by each, and take the
core that the child and the broker are working on."""
_IDLE = BatchEnded().model_dump_json().encode()
_TELLING = threading.Lock()  # a long line of one thread is not cut by one of another
M = TypeVar("M", bound=Message)


class Inbox(Generic[M]):
    """Messages of a stream, read by a thread; `closed` when the other end is gone.

    Args:
        descriptor: of the stream; it may be closed at any time, we have our own.
        kinds: what may come; anything else is logged and passed over.
        on_end: called when the other end is gone.
        gather_s: how long it does not listen after it has heard something.
    """

    def __init__(
        self,
        descriptor: int,
        kinds: TypeAdapter[M],
        *,
        on_end: Callable[[], None] = lambda: None,
        gather_s: float = 0.0,
    ) -> None:
        self._kinds, self._on_end, self._gather_s = kinds, on_end, gather_s
        self._messages: queue.SimpleQueue[M] = queue.SimpleQueue()
        self.closed = False
        # A descriptor that somebody else closed would be another stream's by the time it is read again.
        mine = os.dup(descriptor)
        self._thread = threading.Thread(target=self._read, args=(mine,), daemon=True)
        try:
            self._thread.start()
        except BaseException:
            os.close(mine)
            raise

    def _read(self, descriptor: int) -> None:
        # Unbuffered: a thread inside a buffered reader would hold its lock when the process ends.
        rest = b""
        with contextlib.suppress(OSError):
            while chunk := os.read(descriptor, 1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._put(line)
                if self._gather_s:
                    time.sleep(self._gather_s)
        os.close(descriptor)
        self.closed = True
        self._on_end()

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
        """Waits for the end of the stream, so that nothing a dead child said is missed; not for whoever it left with it."""
        self._thread.join(JOIN_S)


class Speaker:
    """A child's way to its supervisor.

    Args:
        descriptor: of the stream for what is news.
        board: for what it does at the moment; None = that is news as well.
    """

    def __init__(self, descriptor: int, board: Board | None = None) -> None:
        self._descriptor, self._board = descriptor, board

    def __call__(self, message: Message) -> None:
        """Says something; a supervisor that is gone is noticed by the inbox."""
        if self._board is not None and isinstance(message, BatchBegan | BatchEnded):
            self._board.write(message.model_dump_json().encode() if isinstance(message, BatchBegan) else _IDLE)
        else:
            tell(self._descriptor, message)


def child_channel(*, within_s: float = STOP_S) -> tuple[Inbox[ToChild], Speaker]:
    """For a child: its inbox, and how it speaks.

    Standard output is pointed at standard error, so that no library can print into the channel. A child that has not ended so
    long after its supervisor is gone hangs: nobody else would end it.
    """
    out = os.dup(1)
    os.dup2(2, 1)

    def end() -> None:
        time.sleep(within_s)
        os._exit(1)

    return Inbox(0, TO_CHILD, on_end=end), Speaker(out, _board())


def _board() -> Board | None:
    """That which we were given, if we were."""
    given = os.environ.pop(ENVIRONMENT, None)
    if given is None:
        return None
    board = Board(int(given))
    os.close(int(given))
    return board


def line_of(message: Message) -> bytes:
    """A message as it goes over the stream."""
    return message.model_dump_json().encode() + b"\n"


def tell(descriptor: int, message: Message) -> None:
    """Writes one message; a supervisor that is gone is noticed by the inbox."""
    with _TELLING, contextlib.suppress(OSError):
        os.write(descriptor, line_of(message))
