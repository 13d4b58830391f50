"""A child process of a supervisor: started, told, heard, pinned, ended. Nothing here waits for long, whatever the child does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from typing import IO, Protocol

import psutil

from infaas.host.board import ENVIRONMENT, Board, memory
from infaas.host.channel import GATHER_S, Inbox, line_of
from infaas.host.forkserver import ForkServer, Request
from infaas.host.messages import FROM_CHILD, FromChild, Message
from infaas.host.spawn import environment_of, spawn

KILLED_S = 0.5
"""Within which a process that is killed has ended, unless the kernel holds it, as in a read from a disk that does not answer."""
_held: list[Process] = []
"""Killed, and not gone yet: they are waited for when the next child is started."""


class Process(Protocol):
    """A process of ours, however it was started."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def poll(self) -> int | None:
        """Its exit status, once it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end."""

    def kill(self) -> None:
        """Ends it at once."""


class Child:
    """One process with a channel.

    Args:
        module: to run with `python -m`.
        cores: it is pinned to; its libraries are told their number.
        order: the first message.
        memory_bytes: how much writable memory of its own it may have; None = no limit.
        server: makes it if it can; None = it is a process from scratch.

    Raises:
        OSError: no process can be made.
        RuntimeError: no thread that hears it can be made; then there is no process either.
    """

    def __init__(
        self,
        *,
        module: str,
        cores: Sequence[int],
        order: Message,
        memory_bytes: int | None = None,
        server: ForkServer | None = None,
    ) -> None:
        _held[:] = [process for process in _held if process.poll() is None]
        self.cores = tuple(cores)
        self.started_at = time.monotonic()
        shared = memory()
        try:
            self._board = Board(shared)
            self._process = _start(module, cores, memory_bytes, server, shared)
        finally:
            os.close(shared)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        self._unsent = b""
        self._joined = False
        try:
            self._inbox = Inbox(self._stdout.fileno(), FROM_CHILD, gather_s=GATHER_S)
        except BaseException:
            self._joined = True
            self.kill()
            raise
        self.tell(order)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Its memory; 0 = it has none any more."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def cpu_s(self) -> float:
        """Processor time it has used; 0 = it is gone."""
        try:
            return float(sum(psutil.Process(self.pid).cpu_times()[:2]))
        except psutil.Error:
            return 0.0

    def tell(self, message: Message) -> None:
        """Sends a message, at once or as soon as the child reads; one that is gone is noticed by `status`."""
        self._unsent += line_of(message)
        self._push()

    def heard(self) -> list[FromChild]:
        """What it has said since, and what it does now, if that is something else than before."""
        self._push()
        said = self._inbox.take()
        state = self._board.news()
        return said if state is None else [*said, FROM_CHILD.validate_json(state)]

    def status(self) -> int | None:
        """Its exit status, once it has ended and all it said can be heard."""
        status = self._process.poll()
        if status is not None:
            self._join()
        return status

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self.reap()

    def reap(self) -> None:
        """Waits for its end and closes the channel. What the kernel holds runs no more, and is left to end when it may."""
        with contextlib.suppress(OSError, ValueError):
            self._stdin.close()
        try:
            self._process.wait(KILLED_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _held.append(self._process)
            return
        self._join()
        self._stdout.close()

    def _join(self) -> None:
        if not self._joined:
            self._joined = True
            self._inbox.join()

    def _push(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent) :]
        except BlockingIOError:
            return  # it has not read what it was told before
        except (OSError, ValueError):
            self._unsent = b""


def _start(
    module: str, cores: Sequence[int], memory_bytes: int | None, server: ForkServer | None, board: int
) -> Process:
    if server is not None:
        environment = environment_of(len(cores))
        request = Request(module=module, cores=tuple(cores), memory_bytes=memory_bytes, environment=environment)
        forked = server.start(request, board)
        if forked is not None:
            return forked
    return spawn(
        module,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cores=cores,
        memory_bytes=memory_bytes,
        environment={ENVIRONMENT: str(board)},
        descriptors=[board],
    )
