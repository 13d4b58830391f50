"""What `broker.json` in a folder says of the broker that runs there, believed only of processes that are that broker's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_S = 15.0


@dataclass(frozen=True, slots=True)
class BrokerState:
    """A broker that runs."""

    watcher: int
    java: int
    port: int
    data_dir: Path

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @classmethod
    def read(cls, data_dir: Path) -> BrokerState | None:
        """The broker of a folder, if it runs.

        After a crash of the machine the process ids may be somebody else's: Java's command line must name this folder, and
        its parent be the watcher.
        """
        folder = data_dir.resolve()
        try:
            written = json.loads((folder / "broker.json").read_text())
            state = cls(written["watcher"], written["java"], written["port"], folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return state if state._runs() else None

    def _runs(self) -> bool:
        try:
            java = psutil.Process(self.java)
            return configuration(self.data_dir) in java.cmdline() and java.ppid() == self.watcher
        except (psutil.Error, ValueError):
            return False

    def stop(self, timeout: float = STOP_S) -> None:
        """Stops it, whoever started it."""
        try:
            watcher = psutil.Process(self.watcher)
            watcher.terminate()
            watcher.wait(timeout)
        except psutil.NoSuchProcess:
            pass
        except psutil.TimeoutExpired:
            watcher.kill()  # and the kernel ends Java


def configuration(data_dir: Path) -> str:
    """The file a broker is started with, which its command line ends with."""
    return str(data_dir / "server.properties")
