"""What every service process does at its start and end."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import psutil

from infaas.schemas.errors import InfaasError

PR_SET_PDEATHSIG = 1
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Stop:
    """Set by SIGTERM or SIGINT: stop intake, drain, flush, commit, close."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self, *_: object) -> None:
        """Asks for the end; a second signal ends the process at once."""
        if self._event.is_set():
            os._exit(130)
        self._event.set()


def stop_on_signals() -> Stop:
    """A `Stop` that SIGTERM and SIGINT set."""
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, stop.set)
    return stop


def die_with_parent(expected: int | None = None) -> None:
    """The kernel sends SIGTERM to this process when its parent dies (Linux; elsewhere nothing).

    Args:
        expected: the parent's process id; if it is gone already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if expected is not None and os.getppid() != expected:
        sys.exit(1)


def end_with_owner(owner: int, every_s: float = 0.5) -> None:
    """Sends SIGTERM to this process when a process that is not its parent has gone."""

    def watch() -> None:
        while psutil.pid_exists(owner):
            time.sleep(every_s)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="owner").start()


class _Json(logging.Formatter):
    """One line of JSON a record, `extra` included."""

    def format(self, record: logging.LogRecord) -> str:
        out: dict[str, Any] = {
            "at": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            out["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(out, default=str).decode()


def configure_logging(level: str = "INFO") -> None:
    """JSON lines on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json())
    logging.basicConfig(level=os.environ.get("INFAAS_LOG_LEVEL", level), handlers=[handler], force=True)
    for noisy in ("faststream", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def spare_collections() -> None:
    """Has the garbage collector look rarely: what a service makes for a query is freed by counting, and is no garbage.

    By default it looks through all that is alive every few hundred queries. What stands now is left out for good.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def run_service(main: Callable[[Stop], None]) -> int:
    """Runs a service's main function; returns its exit status: 0, or 1 with the error on standard error."""
    configure_logging()
    parent = os.environ.get("INFAAS_PARENT_PID")
    if parent:
        die_with_parent(int(parent))
    owner = os.environ.get("INFAAS_OWNER_PID")
    if owner:
        end_with_owner(int(owner))
    try:
        main(stop_on_signals())
    except InfaasError as error:
        logging.getLogger("infaas").error(  # noqa: TRY400 - the message says it all
            "the service ends", extra={"error": str(error), "code": error.code}
        )
        return 1
    return 0
