"""A service of its own process, without threads, that has a fork server: `python forking.py SCENARIO`; says in JSON what came of it."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from processes import freeze

from infaas.host.board import ENVIRONMENT, Board, memory
from infaas.host.forked import Forked
from infaas.host.forkserver import ForkServer, Request
from infaas.host.process import die_with_parent

MIB = 2**20


def ready(server: ForkServer) -> ForkServer:
    until_s = time.monotonic() + 60.0
    while not server.ready:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return server


def title(pid: int) -> list[str]:
    """What a list of processes shows, but for the interpreter."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().strip("\0").split("\0")[1:]


def started(server: ForkServer, board: int | None = None, **more: str) -> Forked | None:
    cores = (max(os.sched_getaffinity(0)),)
    environment = {**os.environ, "INFAAS_PARENT_PID": str(os.getpid()), **more}
    return server.start(Request(module="a.module", cores=cores, memory_bytes=900 * MIB, environment=environment), board)


def copy(module: str) -> int:
    """What a child runs: says who it is, and ends when its input does, with the status it is told."""
    if ENVIRONMENT in os.environ:
        Board(int(os.environ[ENVIRONMENT])).write(b"it was here")
    die_with_parent(int(os.environ["INFAAS_PARENT_PID"]))
    about = {
        "module": module, "parent": os.getppid(), "cores": sorted(os.sched_getaffinity(0)), "mark": os.environ.get("MARK"),
        "memory_bytes": resource.getrlimit(resource.RLIMIT_DATA)[0], "imported": "colorsys" in sys.modules,
        "title": title(os.getpid()),
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }  # fmt: skip
    print(json.dumps(about), flush=True)
    return int(sys.stdin.readline() or 0)


def starts(server: ForkServer) -> dict[str, object]:
    shared = memory()
    board = Board(shared)
    child = started(ready(server), shared, MARK="here")
    about = json.loads(child.stdout.readline())
    child.stdin.write(b"7\n")
    child.stdin.close()
    return {
        **about, "board": (board.news() or b"").decode(), "service": os.getpid(), "core": max(os.sched_getaffinity(0)), "status": child.wait(30),
        "titles": [title(pid) for pid in (os.getpid(), server.pid)],
    }  # fmt: skip


def starts_the_first_while_the_server_imports(server: ForkServer) -> dict[str, object]:
    child = started(server)
    child.kill()
    return {"status": child.wait(30)}


def outlives_its_server(server: ForkServer) -> dict[str, object]:
    child = started(ready(server))
    child.stdout.readline()
    os.kill(server.pid, signal.SIGKILL)
    os.waitpid(server.pid, 0)
    try:
        child.wait(0.5)
    except subprocess.TimeoutExpired:
        lives = True
    else:
        lives = False
    another = started(server)
    child.kill()
    return {"lives": lives, "another": another is not None, "ready": server.ready, "status": child.wait(30)}


def does_not_wait_for_a_server_that_hangs(server: ForkServer) -> dict[str, object]:
    freeze(ready(server).pid)
    began_s = time.monotonic()
    first = started(server)
    took_s = time.monotonic() - began_s
    return {"first": first is not None, "second": started(server) is not None, "took_s": took_s}


def ends_with_a_service_that_started_nothing(server: ForkServer) -> dict[str, object]:
    while not select.select([server._channel], [], [], 60.0)[0]:
        pass
    server._channel.close()  # what it said last is unread, so this is no mere end to it
    return {"status": os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1])}


def is_killed(server: ForkServer) -> dict[str, object]:
    child = started(ready(server))
    child.stdout.readline()
    print(json.dumps({"server": server.pid, "child": child.pid}), flush=True)
    signal.pause()
    return {}


def has_streams_for_none(server: ForkServer) -> dict[str, object]:
    ready(server)
    open_before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_before + 2, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    refused = []
    for _ in range(3):
        try:
            started(server)
        except OSError as error:
            refused.append(error.errno)
    return {"refused": refused, "open": sum(1 for _ in Path("/proc/self/fd").iterdir()) - open_before}


if __name__ == "__main__":
    made = ForkServer.fork(("colorsys",))
    if isinstance(made, str):
        sys.exit(copy(made))
    print(json.dumps(globals()[sys.argv[1]](made)))
    made.close()
