"""A fork server: a process that has its imports behind it and is copied for every child that is to start.

A Python process computes for a second to import what an instance needs. A copy of one that has done so runs within
milliseconds, and shares its memory until either writes to it.

1. A service forks its server before it has a thread or a connection. The server imports, says that it is ready, and waits.
2. A request says what the child is to run, with which cores, memory and environment; with it come the child's streams.
3. The server forks twice, and the process between ends at once. The child it leaves goes to the nearest subreaper above, which
   is the service while it waits: so it is the service's own, as if the service had started it, waited for and killed as any
   other; nothing happens to it when the server dies.
4. The child sees that it is the service's, says its process id, sets its limits, and leaves `ForkServer.fork` to run.

Invariant: the server has one thread, and no handle that a copy could not use. Linux only. Where there is no server, or it does
not answer in time, `start` says so, and a child is started as a process of its own (`spawn`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infaas.host.board import ENVIRONMENT
from infaas.host.forked import Forked
from infaas.host.process import die_with_parent
from infaas.host.spawn import THREADS
from infaas.host.title import retitle

log = logging.getLogger(__name__)
PR_SET_CHILD_SUBREAPER = 36
IMPORT_S = 1.0
"""The first child waits so long for a server that still imports: it would need longer by itself."""
FORK_S = 1.0
"""A fork takes milliseconds: a server that does not answer for so long is stuck, and is given up."""
ADOPTION_S = 0.5
REQUEST_BYTES = 1 << 18
READY, REFUSED = b"ready", b"refused"


class Request(BaseModel):
    """What a copy is to be."""

    model_config = ConfigDict(frozen=True)

    module: str
    """Whose `main` it runs."""
    cores: tuple[int, ...] = ()
    memory_bytes: int | None = None
    environment: dict[str, str]
    """All of it."""


class ForkServer:
    """A service's end of its server.

    Args:
        channel: to the server; None = there is none.
        pid: the server's.
    """

    def __init__(self, channel: socket.socket | None = None, pid: int = 0) -> None:
        self._channel, self.pid = channel, pid
        self._ready = False
        self._patience_s = IMPORT_S

    @classmethod
    def fork(cls, modules: Sequence[str]) -> ForkServer | str:
        """Forks a server that imports these modules.

        Returns:
            In the service, its end. In a copy, later, the name of the module whose `main` it is to run.
        """
        if sys.platform != "linux" or _threads() != 1:
            return cls()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        service = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            log.warning("no fork server", extra={"error": str(error)})
            return cls()
        if pid:
            theirs.close()
            return cls(ours, pid)
        ours.close()
        return _serve(theirs, service, modules)

    @property
    def ready(self) -> bool:
        """Whether it has its imports behind it."""
        return self._await(0.0)

    def start(self, request: Request, board: int | None = None) -> Forked | None:
        """Starts a child; None = not by this server, now or any more.

        Args:
            request: what it is to be.
            board: a descriptor of memory, where it says what it does; None = nowhere.

        Raises:
            OSError: no process, or no stream to it, can be made.
        """
        patience_s, self._patience_s = self._patience_s, 0.0
        if not self._await(patience_s) or self._channel is None:
            return None
        streams = [*os.pipe()]
        try:
            streams += os.pipe()
            child_in, to_child, from_child, child_out = streams
            pid = self._ask(self._channel, request, [child_in, child_out, *([] if board is None else [board])])
            if pid is None:
                return None
            streams = [child_in, child_out]
            return Forked(pid, stdin=to_child, stdout=from_child)
        finally:
            for descriptor in streams:
                os.close(descriptor)

    def close(self) -> None:
        """Ends the server; what it has started goes on."""
        if self._channel is not None:
            self._channel.close()
            self._channel, self._ready = None, False
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, os.WNOHANG)

    def _await(self, timeout_s: float) -> bool:
        if not self._ready and self._channel is not None:
            self._channel.settimeout(timeout_s)
            try:
                word = self._channel.recv(len(READY))
            except (BlockingIOError, TimeoutError):
                return False
            except OSError:
                word = b""
            self._ready = word == READY
            if not self._ready:
                self.close()
        return self._ready

    def _ask(self, channel: socket.socket, request: Request, descriptors: Sequence[int]) -> int | None:
        """The child's process id; None = the server is gone, or stuck and given up."""
        _subreaper(on=True)
        try:
            channel.settimeout(FORK_S)
            socket.send_fds(channel, [request.model_dump_json().encode()], descriptors)
            answer = channel.recv(64)
        except OSError as error:
            log.warning("the fork server does not answer", extra={"error": str(error)})
            answer = b""
        finally:
            _subreaper(on=False)
        if answer == REFUSED:
            raise OSError("the fork server can't make a process")
        if not answer:
            self.close()
        return int(answer) if answer else None


# ---- the server, and its copies


def _serve(channel: socket.socket, service: int, modules: Sequence[str]) -> str:
    """The server's loop; returns in each copy alone."""
    die_with_parent(service)
    retitle(__name__)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for everybody: we end with our service
    # Of libraries that start threads when they are loaded; what is loaded later goes by the child's own environment.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    for module in modules:
        import_module(module)
    if _threads() != 1:
        raise RuntimeError(f"a fork server must not have threads, which a copy would miss: {modules}")
    gc.collect()
    gc.freeze()  # collections of a copy would write to all of it
    channel.send(READY)
    while True:
        try:
            value, descriptors, _, _ = socket.recv_fds(channel, REQUEST_BYTES, 3)
        except ConnectionResetError:  # the service has ended, and had not read that we are ready
            value, descriptors = b"", []
        if not value:
            os._exit(0)
        started = _fork_twice()
        if started is None:
            return _become(Request.model_validate_json(value), descriptors, channel, service)
        for descriptor in descriptors:
            os.close(descriptor)
        if not started:
            channel.send(REFUSED)


def _fork_twice() -> bool | None:
    """Whether a child was left to whoever adopts it; None in the child."""
    try:
        between = os.fork()
    except OSError:
        return False
    if between:
        _, status = os.waitpid(between, 0)
        return status == 0
    try:
        if os.fork() == 0:
            return None
    except OSError:
        os._exit(1)
    os._exit(0)


def _become(request: Request, descriptors: Sequence[int], channel: socket.socket, service: int) -> str:
    """Makes of a copy what was asked for."""
    deadline = time.monotonic() + ADOPTION_S
    while (
        os.getppid() != service
    ):  # it ends with its parent, whom the kernel changes when the process between has ended
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(0.0005)
    channel.send(str(os.getpid()).encode())
    channel.close()
    for descriptor, standard in zip(descriptors, (0, 1), strict=False):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request.environment)
    for board in descriptors[2:]:
        os.environ[ENVIRONMENT] = str(board)
    retitle(request.module)
    if request.cores:
        os.sched_setaffinity(0, request.cores)
    if request.memory_bytes is not None:
        # Not address space: engines map files and reserve far more of it than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (request.memory_bytes, request.memory_bytes))
    return request.module


def _subreaper(*, on: bool) -> None:
    """Whether orphans among our descendants become our children."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())
