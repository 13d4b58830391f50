"""The process between an owner and its broker: it sees to it that the broker never outlives the owner.

Run as a script, without the rest of the package, so that it starts at once and stays small. It locks the data folder, starts
Java as its own child and writes `broker.json`. It stops Java when told (SIGTERM), when its standard input closes (the owner
is gone, however it went; then a temporary folder goes too), or leaves it alone when started with `--detached`. If it is
itself killed, the kernel ends Java.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

IN_USE = 3
STOP_S = 10.0
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs until Java or the owner ends; returns Java's exit status, or IN_USE."""
    request = json.loads(sys.argv[1])
    detached = "--detached" in sys.argv
    data = Path(request["data_dir"])
    lock = (data / "broker.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return IN_USE
    stop_pipe, stop_now = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(stop_now, b"."))
    with (data / "console.log").open("ab") as console:
        java = subprocess.Popen(
            request["command"],
            env=request["environment"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd=data,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no thread runs yet
        )
    state = data / "broker.json"
    part = state.with_suffix(".part")
    part.write_text(json.dumps({"watcher": os.getpid(), "java": java.pid, **request["state"]}))
    part.replace(state)
    threading.Thread(target=wait_for, args=(java, stop_now), daemon=True).start()
    watched = [stop_pipe] if detached else [stop_pipe, 0]
    awake, _, _ = select.select(watched, [], [])
    status = end(java)
    state.unlink(missing_ok=True)
    if request["temporary"] and 0 in awake:  # nobody else is left who would
        shutil.rmtree(data, ignore_errors=True)
    return status


def wait_for(java: subprocess.Popen[bytes], wake: int) -> None:
    """Wakes the main thread when Java ends."""
    java.wait()
    os.write(wake, b".")


def end(java: subprocess.Popen[bytes]) -> int:
    """Stops Java: politely, then not."""
    if java.poll() is None:
        java.terminate()
        try:
            return java.wait(STOP_S)
        except subprocess.TimeoutExpired:
            java.kill()
    return java.wait()


def die_with_parent() -> None:
    """In the child, before Java runs: the kernel sends SIGTERM when this watcher dies (Linux)."""
    os.setsid()  # Ctrl-C in the terminal is the owner's business
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
