"""Starting, stopping and finding an embedded broker.

The owner holds a pipe to a small watcher process, which holds Java: whoever dies, nothing is left behind. Data stays in its
folder and survives a restart, on the same port where that is still free.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from infaas.bus.embedded import java, watch
from infaas.bus.embedded.configuration import Listener, log_properties, server_properties
from infaas.bus.embedded.identity import answering_cluster, formatted_cluster, new_cluster
from infaas.bus.embedded.jars import cache_dir, ensure, exclusive
from infaas.bus.embedded.ports import PortInUse, free_ports, listens, obstacle
from infaas.bus.embedded.state import BrokerState, configuration
from infaas.schemas.errors import EmbeddedBrokerError

MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 16 * MIB  # twice the default query limit: topics have limits of their own
READY_S = 60.0
PORT_TRIES = 3
Progress = Callable[[str], None]


class EmbeddedBroker:
    """A one-node Apache Kafka that this process owns; a context manager.

    Attributes:
        data_dir: its folder.
        port: on 127.0.0.1.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        temporary: bool,
        quick: bool,
        heap_mb: int,
        max_message_bytes: int,
        listeners: Sequence[Listener] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir, self.port = data_dir, 0
        self._temporary, self._quick, self._heap_mb = temporary, quick, heap_mb
        self._max_message_bytes = max_message_bytes
        self._listeners, self._settings = tuple(listeners), dict(settings or {})
        self._watcher: subprocess.Popen[bytes] | None = None
        self._state: BrokerState | None = None

    @classmethod
    def start(
        cls,
        *,
        data_dir: Path | None = None,
        port: int | None = None,
        quick: bool = False,
        heap_mb: int = 512,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        detached: bool = False,
        listeners: Sequence[Listener] = (),
        settings: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> EmbeddedBroker:
        """Starts a broker and returns when it answers.

        Args:
            data_dir: its folder; None = a temporary one, removed on `stop`.
            port: to listen on; None = the folder's last one, or any that is free.
            quick: compile less: starts in two thirds of the time and runs slower, for short tests.
            heap_mb: Java's heap.
            max_message_bytes: largest record of any topic.
            detached: let it run on when this process ends.
            listeners: more ways to it, beside `port`.
            settings: of Kafka's, more than ours; they win.
            progress: told what takes long.

        Raises:
            EmbeddedBrokerError: if it can't be fetched or started; the message says what to do.
        """
        temporary = data_dir is None
        folder = Path(tempfile.mkdtemp(prefix="infaas-kafka-")) if data_dir is None else data_dir.resolve()
        broker = cls(
            folder, temporary=temporary, quick=quick, heap_mb=heap_mb, max_message_bytes=max_message_bytes,
            listeners=listeners, settings=settings,
        )  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            broker._prepare(progress)
            broker._launch(port, detached=detached)
        except OSError as error:
            broker.stop()
            raise EmbeddedBrokerError(f"the embedded Kafka can't keep its data in {folder}: {error}") from error
        except BaseException:
            broker.stop()
            raise
        return broker

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Java's process id."""
        if self._state is None:
            raise EmbeddedBrokerError("the broker does not run")
        return self._state.java

    def stop(self) -> None:
        """Stops the broker; a temporary folder is removed."""
        if self._watcher is not None:
            self._watcher.terminate()
            try:
                self._watcher.wait(watch.STOP_S + 5)
            except subprocess.TimeoutExpired:
                self._watcher.kill()
                self._watcher.wait()
            self._forget()
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def _forget(self) -> None:
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher = self._state = None

    def kill(self) -> None:
        """Ends Java with SIGKILL, as a crash would; `restart` brings it back."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._watcher is not None
        self._watcher.wait(30)

    def restart(self) -> None:
        """Starts it again on the same port and data, after stopping it if it still runs."""
        temporary, self._temporary = self._temporary, False
        try:
            self.stop()
        finally:
            self._temporary = temporary
        self._launch(self.port, detached=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self, progress: Progress | None) -> None:
        cache = cache_dir()
        self._program = java.java()
        self._classes = java.class_path(ensure(cache, progress))
        self._environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        trained = java.aot_file(cache, self._program, self._classes)
        if trained.exists():
            return
        with exclusive(cache / "aot.lock"):  # several processes that start at once on a new machine train once
            if not trained.exists():
                if progress:
                    progress("preparing quick starts (once)")
                self._train(cache)

    def _train(self, cache: Path) -> None:
        """Runs a broker once to record what a start loads."""
        with tempfile.TemporaryDirectory(prefix="infaas-kafka-aot-") as folder:
            trainee = EmbeddedBroker(
                Path(folder), temporary=False, quick=False, heap_mb=256, max_message_bytes=self._max_message_bytes
            )
            trainee._program, trainee._classes, trainee._environment = self._program, self._classes, self._environment
            part = java.aot_file(cache, self._program, self._classes).with_suffix(f".{os.getpid()}.part")
            try:
                trainee._launch(None, detached=False, more=[f"-XX:AOTCacheOutput={part}"])
            except EmbeddedBrokerError:
                return  # the real start will say what is wrong
            finally:
                trainee.stop()
            if part.exists():
                part.replace(java.aot_file(cache, self._program, self._classes))

    def _launch(self, port: int | None, *, detached: bool, more: list[str] | None = None) -> None:
        """Starts it on this port, or, where none is asked for, on one that nobody takes meanwhile."""
        state = BrokerState.read(self.data_dir)
        if state is not None:  # before its configuration and its last port are written over
            raise self._in_use(f", at {state.bootstrap_servers}")
        for attempt in range(PORT_TRIES):
            self.port, controller = self._ports(port)
            self._write_configuration(controller)
            try:
                self._run(controller, detached=detached, more=more)
            except PortInUse as error:
                if error.port == port or attempt == PORT_TRIES - 1:
                    raise
            else:
                return

    def _ports(self, port: int | None) -> tuple[int, int]:
        """The port to listen on, and the controller's.

        Raises:
            PortInUse: if the port asked for is somebody else's.
        """
        free = free_ports(2)
        if port is not None:
            reason = obstacle(port)
            if reason is not None:
                raise PortInUse(port, reason)
            return port, free[1]
        try:
            last = int((self.data_dir / "port").read_text())
        except (OSError, ValueError):
            return free[0], free[1]
        return (last if obstacle(last) is None else free[0]), free[1]

    def _write_configuration(self, controller_port: int) -> None:
        (self.data_dir / "port").write_text(str(self.port))
        (self.data_dir / "log4j2.properties").write_text(log_properties(self.data_dir))
        (self.data_dir / "server.properties").write_text(
            server_properties(
                data_dir=self.data_dir,
                port=self.port,
                controller_port=controller_port,
                max_message_bytes=self._max_message_bytes,
                listeners=self._listeners,
                more=self._settings,
            )
        )

    def _run(self, controller_port: int, *, detached: bool, more: list[str] | None) -> None:
        if formatted_cluster(self.data_dir) is None:
            self._format()
        options = more or java.aot_options(cache_dir(), self._program, self._classes)
        if self._quick:
            options = [*options, "-XX:TieredStopAtLevel=1"]
        command = self._java(options, "kafka.Kafka", configuration(self.data_dir))
        request = {
            "data_dir": str(self.data_dir),
            "command": command,
            "environment": self._environment,
            "state": {"port": self.port},
            "temporary": self._temporary and not detached,
        }
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", watch.__file__, json.dumps(request), *(["--detached"] if detached else [])],
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready(controller_port)

    def _java(self, options: list[str], *arguments: str) -> list[str]:
        return [
            str(self._program),
            "-XX:+UseSerialGC",
            f"-Xmx{self._heap_mb}m",
            "-Xms64m",
            *options,
            f"-Dlog4j2.configurationFile={self.data_dir}/log4j2.properties",
            "-Djava.awt.headless=true",
            "-cp",
            self._classes,
            *arguments,
        ]

    def _format(self) -> None:
        command = self._java(
            [*java.aot_options(cache_dir(), self._program, self._classes), "-XX:TieredStopAtLevel=1"],
            "kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id", new_cluster(),
            "--config", configuration(self.data_dir),
        )  # fmt: skip
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EmbeddedBrokerError(f"formatting {self.data_dir}: {(done.stdout + done.stderr).strip()[-2000:]}")

    def _wait_until_ready(self, controller_port: int) -> None:
        """Until the process started here answers as the cluster that its folder was formatted for: any other is not ours."""
        assert self._watcher is not None
        cluster = formatted_cluster(self.data_dir)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            status = self._watcher.poll()
            if status is not None:
                self._forget()
                raise self._ended(status, controller_port)
            state = BrokerState.read(self.data_dir)
            if state is not None and listens(self.port) and answering_cluster(self.bootstrap_servers) == cluster:
                self._state = state
                return
            time.sleep(0.02)
        raise EmbeddedBrokerError(f"Kafka did not answer within {READY_S:g} s: {self._last_words()}")

    def _ended(self, status: int, controller_port: int) -> EmbeddedBrokerError:
        """Why it ended at its start."""
        if status == watch.IN_USE:
            return self._in_use()
        # Between choosing a port and binding it somebody else may take it.
        for port in (self.port, controller_port):
            reason = obstacle(port)
            if reason is not None:
                return PortInUse(port, reason)
        return EmbeddedBrokerError(f"Kafka ended at its start (status {status}): {self._last_words()}")

    def _in_use(self, where: str = "") -> EmbeddedBrokerError:
        return EmbeddedBrokerError(
            f"a broker runs in {self.data_dir} already{where}: the folder is in use. `infaas broker status` says where it is, "
            "`infaas broker stop` stops it; --data-dir takes another folder"
        )

    def _last_words(self) -> str:
        """The end of the broker's log and console."""
        out = []
        for name in ("broker.log", "console.log"):
            try:
                lines = (self.data_dir / name).read_text(errors="replace").strip().splitlines()
            except OSError:
                continue
            out += [line for line in lines if "ERROR" in line or "Exception" in line or "rror:" in line][-5:] or lines[
                -5:
            ]
        return "\n".join(out)[-2000:] or "it said nothing"
