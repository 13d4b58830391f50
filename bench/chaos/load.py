"""`python -m infaas.bench.chaos.load JOURNAL SEED`: a caller with a steady, known load, which writes down what it is shown.

Each line of standard input is a rate, in queries a second; 0 pauses.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import orjson

from infaas.bench.history import Shown
from infaas.bench.model import inputs
from infaas.bus.settings import BusSettings
from infaas.client import Client, Reply
from infaas.host.process import Stop, run_service
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import CLOUD_EVENT_ID

APPLICATION = "chaos"
FLOOR = 0.95
ROWS = 64
PATIENCE_S = 150.0
IDLE_S = 0.02
# Strict and not, with and without a floor, online and offline, in both forms of the protocol; each with its share.
MIX: tuple[tuple[float, Mapping[str, Any]], ...] = (
    (0.40, {"latency_ms": 1000.0, "min_accuracy": FLOOR}),
    (0.20, {"latency_ms": 1000.0}),
    (0.15, {"latency_ms": 300.0, "min_accuracy": FLOOR, "strict": False}),
    (0.10, {"latency_ms": 2000.0, "min_accuracy": FLOOR, "binary": False}),
    (0.15, {"min_accuracy": FLOOR}),
)


class Journal:
    """What a caller was shown, a line each, written at once: it outlives the caller."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, asked: str, done: Future[Reply]) -> None:
        """Notes one answer, or the error it ended in."""
        try:
            reply = done.result()
        except InfaasError as error:
            line: dict[str, object] = {"asked": asked, "error": error.code}
        else:
            line = {"asked": asked, "query": reply.query_id, "outcome": reply.outcome, "met": reply.objective_met}
        os.write(self._file, orjson.dumps(line) + b"\n")

    @staticmethod
    def read(path: Path) -> list[Shown]:
        """What stands in a journal; its last line may be cut short."""
        out = []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with contextlib.suppress(orjson.JSONDecodeError):
                out.append(Shown(**orjson.loads(line)))
        return out


class Load:
    """The caller's process, from outside.

    Args:
        environment: where its cell is.
        journal: the file it writes.
        seed: of the mix.
    """

    def __init__(self, environment: Mapping[str, str], *, journal: Path, seed: int) -> None:
        self._command = [sys.executable, "-m", "infaas.bench.chaos.load", str(journal)]
        self._environment, self._seed = dict(environment), seed
        self.journal, self._rate = journal, 0.0
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Its process id; 0 = it has ended."""
        return self._process.pid if self._process.poll() is None else 0

    @property
    def name(self) -> str:
        """How the ids begin that it gives."""
        return f"load-{self._process.pid}-"

    def step(self) -> bool:
        """Starts it again if it has ended; True if it had."""
        if self.pid:
            return False
        self._seed += 1
        self._close()
        self._process = self._start()
        self.rate(self._rate)
        return True

    def rate(self, per_s: float) -> None:
        """So many queries a second from now on."""
        self._rate = per_s
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{per_s}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._close()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, str(self._seed)], env=self._environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def _close(self) -> None:
        self._process.wait(10)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


def main(stop: Stop) -> None:
    """Asks at the rate it is told."""
    journal, random, x = Journal(Path(sys.argv[1])), Random(int(sys.argv[2])), inputs(ROWS)
    rate, name, count = [0.0], f"load-{os.getpid()}", 0
    threading.Thread(target=_listen, args=(rate, stop), daemon=True).start()
    with Client(BusSettings()) as client:
        due = time.monotonic()
        while not stop:
            now = time.monotonic()
            if not rate[0]:
                due = now
                time.sleep(IDLE_S)
                continue
            if now < due:
                time.sleep(min(due - now, IDLE_S))
                continue
            due = max(due + 1 / rate[0], now - 1.0)  # after a pause of its own it does not make up for all of it
            asked = dict(random.choices([a for _, a in MIX], [share for share, _ in MIX])[0])
            count += 1
            row = random.randrange(ROWS)
            with contextlib.suppress(InfaasError):
                identity = f"{name}-{count}"
                asked |= {"headers": {CLOUD_EVENT_ID: identity}, "timeout": PATIENCE_S, "raise_for_outcome": False}
                future = client.submit(APPLICATION, {"x": x[row : row + 1]}, **asked)
                future.add_done_callback(partial(journal.write, identity))


def _listen(rate: list[float], stop: Stop) -> None:
    lines: Iterable[str] = sys.stdin
    for line in lines:
        rate[0] = float(line)
    stop.set()


if __name__ == "__main__":
    sys.exit(run_service(main))
