"""What a fault is struck on: a broker, the services, a caller, and the observer of it all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import psutil

from infaas.bench.chaos.broker import listeners
from infaas.bench.chaos.links import Links
from infaas.bench.chaos.load import APPLICATION, FLOOR, Journal, Load
from infaas.bench.history import Entry, History
from infaas.bench.model import Network, inputs, validation_of
from infaas.bench.observer import Observer
from infaas.bus.cell import EMBEDDED_SESSION_MS
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.embedded.ports import free_ports
from infaas.bus.settings import BusSettings
from infaas.cli.stack import Progress, Shape, Stack
from infaas.client import Client, follow
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import SERVING
from infaas.schemas.oip import Array

WORKERS, ROUTERS = 2, 2
CALLER = "client"
SERVICES = (
    "registrar",
    "scaler",
    *(f"router-{n + 1}" for n in range(ROUTERS)),
    *(f"worker-{n + 1}" for n in range(WORKERS)),
)
NETWORKS = {"exact": Network.of(), "rough": Network.of(noise=1.0)}
CACHE_SIZE = "48m"
STEP_S = 0.02
PROBES, PROBE_MS, HEALTHY_S = 3, 1_000.0, 40.0


class Stage:
    """Starts all of it and registers two models, one exact and one rough; a context manager.

    Args:
        folder: for all its files.
        linked: whether services and caller come to the broker through links.
        seed: of the caller's mix.
        progress: told what is going on.
    """

    def __init__(self, folder: Path, *, linked: bool, seed: int, progress: Progress) -> None:
        self._folder, self._linked, self._seed, self._progress = folder, linked, seed, progress
        self._open = contextlib.ExitStack()
        self.restarted: list[str] = []
        """Services that had ended and were started again."""
        self.load: Load | None = None
        self.disk: Path | None = None
        """The small disks' folder; None = this user can mount none."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self) -> None:
        names = (*SERVICES, CALLER) if self._linked else ()
        ports = free_ports(2 * len(names))
        self.links = self._open.enter_context(
            Links(dict(zip(names, zip(ports[::2], ports[1::2], strict=True), strict=True)))
        )
        self.broker = EmbeddedBroker.start(
            data_dir=self._folder / "kafka", listeners=listeners(self.links.ports), progress=self._progress
        )
        self._open.callback(self.broker.stop)
        settings = BusSettings(bootstrap_servers=self.broker.bootstrap_servers, session_timeout_ms=EMBEDDED_SESSION_MS)
        self._mount()
        self.stack = Stack(
            data_dir=self._folder, shape=Shape(workers=WORKERS, cores=2, routers=ROUTERS, idle_s=3600), settings=settings,
            repository_url=(self._folder / "repository").as_uri(), own_broker=False, progress=self._progress,
            environments={name: self._environment(name) for name in SERVICES},
        )  # fmt: skip
        self._open.enter_context(self.stack)
        self._client = self._open.enter_context(Client(settings, repository_url=self.stack.repository_url))
        self.observer = self._open.enter_context(Observer(settings))
        self._register(settings)
        self.load = Load(
            {**os.environ, "INFAAS_BOOTSTRAP_SERVERS": settings.bootstrap_servers, "INFAAS_PARENT_PID": str(os.getpid()),
             **self._environment(CALLER)},
            journal=self._folder / "journal", seed=self._seed,
        )  # fmt: skip
        self._open.callback(self.load.close)

    def _environment(self, name: str) -> dict[str, str]:
        path = [str(Path(__file__).parent / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
        out = {"INFAAS_CHAOS_CLOCK": str(self._folder / f"{name}.clock"), "PYTHONPATH": os.pathsep.join(path)}
        if name in self.links.ports:
            out["INFAAS_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{self.links.ports[name][0]}"
        if name.startswith("worker-"):
            out["INFAAS_WORKER_CACHE_DIR"] = str(self._cache(name))
        return out

    def _cache(self, worker: str) -> Path:
        return self._folder / "caches" / worker

    def _mount(self) -> None:
        """Each worker's cache on a small disk of its own, where this user may mount one."""
        for n in range(WORKERS):
            cache = self._cache(f"worker-{n + 1}")
            cache.mkdir(parents=True, exist_ok=True)
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={CACHE_SIZE}", "infaas-chaos", str(cache)],
                capture_output=True,
                check=False,
            )
            if mounted.returncode:
                return
            self._open.callback(subprocess.run, ["umount", "-l", str(cache)], capture_output=True, check=False)
        self.disk = self._folder / "caches"

    def _register(self, settings: BusSettings) -> None:
        validation = validation_of(NETWORKS["exact"])
        for name, network in NETWORKS.items():
            found = self._client.register(
                name, application=APPLICATION, model=network.onnx(), validation_set=validation, max_batch=8, cores=(1,),
                generators=("onnx",),
            )  # fmt: skip
            for _ in follow(settings, name, found.version, timeout=120):
                self.step()

    def step(self) -> None:
        """Keeps services and caller running."""
        self.restarted += self.stack.step()
        if self.load is not None:
            self.load.step()

    def ask(self, per_s: float) -> None:
        """So much load from now on."""
        assert self.load is not None
        self.load.rate(per_s)

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.step()
            time.sleep(STEP_S)

    def is_healthy(self) -> bool:
        """Whether queries are answered in time, or are again within a while."""
        deadline, good = time.monotonic() + HEALTHY_S, 0
        while good < PROBES and time.monotonic() < deadline:
            self.step()
            try:
                self._client.infer(APPLICATION, {"x": inputs(1)}, latency_ms=PROBE_MS, min_accuracy=FLOOR, timeout=3.0)
                good += 1
            except InfaasError:
                good = 0
                self.run(0.2)
        return good == PROBES

    def history(self) -> History:
        """All that happened so far."""
        assert self.load is not None
        return replace(self.observer.history(Journal.read(self.load.journal)), callers=(self.load.name,))

    def processes(self, role: str) -> list[int]:
        """Process ids of whom a fault hits."""
        if role == "broker":
            return [self.broker.pid]
        if role == CALLER:
            assert self.load is not None
            return [self.load.pid]
        if role in ("supervisor", "machine", "instance"):
            supervisor = psutil.Process(self.stack.services[self._serving()].pid)
            children = supervisor.children(recursive=True)
            if role == "instance":
                serving = [child for child in children if "infaas.workers.serve" in child.cmdline()]
                return [max(serving, key=lambda child: child.cpu_times().user).pid]
            return [supervisor.pid, *(child.pid for child in children if role == "machine")]
        return [self.stack.services[self._service(role)].pid]

    def link_of(self, role: str) -> str:
        """The link of whom a fault hits."""
        return self._service(role)

    def clock_of(self, role: str) -> Path:
        """The file that says how wrong its clock is."""
        return self._folder / f"{self._service(role)}.clock"

    def cache_of_serving_worker(self) -> Path:
        """Where the worker that serves keeps what it fetched."""
        return self._cache(self._serving())

    def _service(self, role: str) -> str:
        match role:
            case "router":
                return "router-1"
            case "machine" | "supervisor" | "instance":
                return self._serving()
            case _:
                return role

    def _serving(self) -> str:
        """The first worker that runs the exact model."""
        view = self.stack.view()
        running = sorted(
            i.worker for i in view.instances.values() if i.variant.startswith("exact.") and i.state in SERVING
        )
        return running[0] if running else "worker-1"


def expected(query: Entry, variant: str) -> Mapping[str, Array] | None:
    """What the network behind a variant answers."""
    network = NETWORKS.get(variant.split(".", maxsplit=1)[0])
    if network is None:
        return None
    length = query.number(h.CONTENT_LENGTH)
    request = oip.decode_request(query.value or b"", None if length is None else int(length))
    return {"scores": network.scores(request.inputs["x"])}
