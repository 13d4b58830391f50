"""A child process of the supervisor: started, told, heard, pinned, ended."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Sequence

from infaas.host.channel import Inbox, line_of
from infaas.host.messages import FROM_CHILD, FromChild, Message
from infaas.host.spawn import spawn

STOP_S = 10.0


class Child:
    """One process with a channel.

    Args:
        module: to run with `python -m`.
        cores: it is pinned to; its libraries are told their number.
        order: the first message.
        memory_bytes: how much writable memory of its own it may have; None = no limit.
    """

    def __init__(self, *, module: str, cores: Sequence[int], order: Message, memory_bytes: int | None = None) -> None:
        self.cores = tuple(cores)
        self.started_at = time.monotonic()
        self._process = spawn(
            module, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cores=cores, memory_bytes=memory_bytes
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._inbox = Inbox(self._stdout.fileno(), FROM_CHILD)
        self.tell(order)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, message: Message) -> None:
        """Sends a message; a child that is gone is noticed by `status`."""
        with contextlib.suppress(OSError, ValueError):
            self._stdin.write(line_of(message))
            self._stdin.flush()

    def heard(self) -> list[FromChild]:
        """What it has said since."""
        return self._inbox.take()

    def status(self) -> int | None:
        """Its exit status, once it has ended and all it said can be heard."""
        status = self._process.poll()
        if status is not None:
            self._inbox.join()
        return status

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self.reap()

    def reap(self) -> None:
        """Waits for its end and closes the channel."""
        with contextlib.suppress(OSError, ValueError):
            self._stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._inbox.join()
        self._stdout.close()
