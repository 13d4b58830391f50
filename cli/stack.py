"""A whole cell on one machine: Kafka, registrar, router, scaler and workers as child processes.

What crashes is started again; when this process ends, however it ends, nothing is left: the broker's watcher and every service
notice that their parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from infaas.bus.admin import Admin
from infaas.bus.cell import EMBEDDED_SESSION_MS
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.settings import BusSettings
from infaas.host.deadlines import STACK_STOP_S
from infaas.host.spawn import spawn
from infaas.schemas.catalogue import CORE_PRICE_PER_HOUR
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import Leader, Record
from infaas.store.table import Table
from infaas.store.view import View

READY_S = 60.0
BACKOFF_S, BACKOFF_MAX_S = 0.2, 5.0
STEADY_S = 30.0
Progress = Callable[[str], None]
PARTITIONS_A_ROUTER = 2
"""One machine's routers do not become many, and each partition costs every fetch: with 8 and 4 an answer took 0.3 ms longer."""


@dataclass(slots=True)
class Service:
    """One child process, kept running."""

    name: str
    module: str
    environment: Mapping[str, str]
    """More than ours."""
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started_at: float = 0.0
    not_before: float = 0.0

    def start(self) -> None:
        """Starts the process; its output is appended to its log."""
        self.started_at = time.monotonic()
        with self.log.open("ab") as out:
            self.process = spawn(
                self.module,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                environment=self.environment,
                new_session=True,  # we stop them in order
            )

    @property
    def pid(self) -> int:
        """Of the process; 0 = it does not run."""
        return self.process.pid if self.process is not None and self.process.poll() is None else 0

    def keep(self) -> bool:
        """Starts it again if it has ended, with a growing pause; True if it had."""
        if self.process is not None and self.process.poll() is None:
            return False
        now = time.monotonic()
        if self.process is not None:
            self.process = None
            self.restarts = 0 if now - self.started_at > STEADY_S else self.restarts + 1
            self.not_before = now + min(BACKOFF_MAX_S, BACKOFF_S * 2 ** max(0, self.restarts - 1))
        if now < self.not_before:
            return False
        self.start()
        return True

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()

    def join(self, deadline: float) -> None:
        """Waits until the deadline, then kills."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stack is made of."""

    workers: int = 1
    cores: int | None = None
    """Of each worker; None = this machine's, divided by the workers."""
    max_workers: int = 0
    """More workers that the scaler may start on this machine."""
    routers: int = 1
    idle_s: float = 30.0
    builds: int = 0
    """Builds at once; 0 = one where workers share cores, else as many as fit."""


@dataclass(slots=True)
class Stack:
    """Starts, keeps and stops a cell; a context manager.

    Args:
        data_dir: of broker and logs; they survive.
        shape: what to start.
        settings: of the cell; its bootstrap servers are used if `own_broker` is False.
        own_broker: whether to start the embedded broker.
        repository_url: where artifacts are.
        port: for the embedded broker; None = the last one, or any.
        progress: told what is going on.
    """

    data_dir: Path
    shape: Shape
    settings: BusSettings
    repository_url: str
    own_broker: bool = True
    port: int | None = None
    progress: Progress = print
    extra: Mapping[str, str] = field(default_factory=dict)
    """More environment for all services."""
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More environment for single services, by name; it wins."""
    broker: EmbeddedBroker | None = None
    services: dict[str, Service] = field(default_factory=dict)
    table: Table | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts everything; returns when all of it is ready.

        Raises:
            EmbeddedBrokerError, KafkaUnavailable: with what to do.
        """
        logs = self.data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        if self.own_broker:
            self.progress("starting Kafka")
            self.broker = EmbeddedBroker.start(data_dir=self.data_dir / "kafka", port=self.port, progress=self.progress)
            self.settings = self.settings.model_copy(
                update={
                    "bootstrap_servers": self.broker.bootstrap_servers,
                    "session_timeout_ms": EMBEDDED_SESSION_MS,
                    "query_partitions": PARTITIONS_A_ROUTER * self.shape.routers,
                }
            )
        self.progress(f"Kafka is at {self.settings.bootstrap_servers}; making topics")
        admin = Admin(self.settings, client_id="stack")
        try:
            admin.wait_for_broker()
            admin.ensure_topics()
        finally:
            admin.close()
        begun_ms = time.time() * 1000.0
        self.table = Table(self.settings, client_id="stack")
        self.table.open()
        before = {name: worker.boot_id for name, worker in self.view().workers.items()}
        for name, (module, more) in self._plan().items():
            environment = {**self._environment(), **more, **self.environments.get(name, {})}
            self.services[name] = Service(name, module, environment, logs / f"{name}.log")
            self.services[name].start()
        self.progress("starting " + ", ".join(self.services))
        self._wait(begun_ms, before)

    def step(self) -> list[str]:
        """Starts again what has ended; returns their names. Call it often, from the thread that started the stack."""
        return [name for name, service in self.services.items() if service.keep()]

    def view(self) -> View:
        """The metadata, as of now."""
        assert self.table is not None
        while self.table.poll(0):
            pass
        return self.table.view()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends a signal to a service; returns its process id (0 = it did not run)."""
        pid = self.services[name].pid
        if pid:
            os.kill(pid, number)
        return pid

    def stop(self) -> None:
        """Stops the services, callers' side first, then the broker."""
        if self.table is not None:
            self.table.close()
            self.table = None
        deadline = time.monotonic() + STACK_STOP_S
        for service in self.services.values():
            service.ask_to_stop()
        for service in self.services.values():
            service.join(deadline)
        self.services.clear()
        if self.broker is not None:
            self.broker.stop()
            self.broker = None

    def _plan(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Modules and environment by name."""
        machine_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        shape = self.shape
        cores = shape.cores or max(1, machine_cores // max(1, shape.workers))
        shared = cores * (shape.workers + shape.max_workers) > machine_cores
        builds = shape.builds or (1 if shared else 0)
        plan: dict[str, tuple[str, dict[str, str]]] = {
            "registrar": ("infaas.registrar", {}),
            "scaler": (
                "infaas.scaler",
                {
                    "INFAAS_SCALER_IDLE_S": str(shape.idle_s),
                    "INFAAS_SCALER_BUILDS": str(builds),
                    "INFAAS_SCALER_PROVISIONER": "local" if shape.max_workers else "none",
                    "INFAAS_SCALER_MAX_MACHINES": str(shape.max_workers),
                    "INFAAS_SCALER_MACHINE_CORES": str(cores),
                    "INFAAS_OWNER_PID": str(os.getpid()),
                },
            ),
        }
        for n in range(shape.routers):
            plan[f"router-{n + 1}"] = ("infaas.router", {"INFAAS_ROUTER_NAME": f"router-{n + 1}"})
        for n in range(shape.workers):
            plan[f"worker-{n + 1}"] = (
                "infaas.workers",
                {
                    "INFAAS_WORKER_NAME": f"worker-{n + 1}",
                    "INFAAS_WORKER_CORES": str(cores),
                    "INFAAS_WORKER_FIRST_CORE": str((n if shared else n * cores) % machine_cores),
                    "INFAAS_WORKER_MACHINE_TYPE": f"local-{cores}",
                    "INFAAS_WORKER_PRICE_PER_HOUR": str(CORE_PRICE_PER_HOUR * cores),
                },
            )
        return plan

    def _environment(self) -> dict[str, str]:
        return {
            **self.extra,
            "INFAAS_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "INFAAS_TOPIC_PREFIX": self.settings.topic_prefix,
            "INFAAS_SESSION_TIMEOUT_MS": str(self.settings.session_timeout_ms),
            "INFAAS_REPOSITORY_URL": self.repository_url,
        }

    def _wait(self, begun_ms: float, before: Mapping[str, str]) -> None:
        """Until both leaders lead and all workers are there, of this life: metadata survives a restart.

        Args:
            begun_ms: when the services were started.
            before: boot ids of workers by then.
        """
        deadline = time.monotonic() + READY_S
        workers = {name for name in self.services if name.startswith("worker-")}
        while True:
            view = self.view()
            ready = {n for n, w in view.live_workers.items() if w.boot_id != before.get(n)}
            leaders = {
                key.removeprefix("leader/")
                for key, r in view.kinds.get("leader", {}).items()
                if _claimed_since(r, begun_ms)
            }
            missing = sorted(workers - ready) + sorted({"scaler", "registrar"} - leaders)
            if not missing:
                return
            self.step()
            if time.monotonic() > deadline:
                raise StackError(f"not ready after {READY_S:g} s: {', '.join(missing)}; see {self.data_dir / 'logs'}")
            time.sleep(0.02)


class StackError(InfaasError):
    """The services did not come up; the message says which, and where their logs are."""

    code = "stack"


def _claimed_since(record: Record, begun_ms: float) -> bool:
    return isinstance(record, Leader) and record.claimed_at_ms >= begun_ms - 1000.0
