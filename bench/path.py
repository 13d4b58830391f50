"""`bench path`: the whole way of a query against the least that a pipeline in Python can be, on the same Kafka, in turns.

The *floor* (`bench/floor.py`) keeps the system's promises and chooses nothing; *bare* is one loop that promises nothing. All are
asked by the same plain client with the same payload: OIP JSON of 64 floats, S a model of some 10 us, T one of some 12 ms.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from infaas.bench.model import Network
from infaas.bench.own_stack import own_stack
from infaas.bench.plain_client import PlainClient
from infaas.bench.registered import body, registered
from infaas.bus.settings import BusSettings
from infaas.cli.console import progress
from infaas.cli.stack import Shape, Stack
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import APPLICATION, LATENCY_MS, HeaderList
from infaas.schemas.topics import QUERIES

TURNS = 4
SINGLES, PACED_S, IN_FLIGHT, CLOSED, BURST = 200, 4.0, 512, 10_000, 10_000
HELD_RATE, HELD_S = 3000.0, 12.0
T_BURST, T_RATE, T_PACED_S = 600, 60.0, 5.0
WARM_UP, WARM_ROUNDS, CALM = 20_000, 6, 0.15
"""Java compiles what it runs, and again where queries come in another way: its compiler takes half a core from whoever is measured.
So both sides are asked in every way until a round costs the broker as much as the one before, or for so many rounds."""
IDLE_S, CALM_S, STOP_S = 15.0, 20.0, 30.0
OBJECTIVE_MS = 60_000


@dataclass
class Side:
    """One pipeline: who asks it, which processes it is made of, and what was measured."""

    client: PlainClient
    processes: Mapping[str, psutil.Process]
    found: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    answered: int = 0

    def add(self, key: str, values: list[float]) -> None:
        """Measured in one turn."""
        self.found.setdefault(key, []).extend(values)

    @contextlib.contextmanager
    def counted(self, queries: int) -> Iterator[None]:
        """Counts what these queries cost each process."""
        before = {name: _cpu_s(process) for name, process in self.processes.items()}
        yield
        for name, process in self.processes.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + _cpu_s(process) - before[name]
        self.answered += queries

    def percentile(self, key: str, percent: float) -> float:
        """Of all turns."""
        return float(np.percentile(self.found[key], percent))

    def median(self, key: str) -> float:
        """Of the turns."""
        return self.percentile(key, 50)


def path(*, turns: int = TURNS) -> dict[str, float]:
    """Measures; returns ratios to the floor and to the bare loop, and what they are made of."""
    with own_stack(Shape(workers=1, cores=2, idle_s=3600)) as stack:
        out = _small(stack, turns)
        out |= _large(stack, turns)
        return out


def _small(stack: Stack, turns: int) -> dict[str, float]:
    registered(stack, "small", Network.of())
    model = stack.data_dir / "small.onnx"
    with contextlib.ExitStack() as held:
        sides = {
            "system": held.enter_context(_system(stack, "small")),
            "floor": held.enter_context(_plain(stack.settings, model, ("forward", "serve"))),
        }
        with _one_instance(stack):
            _warm_up(sides)
            for turn in range(turns):
                progress(f"turn {turn + 1} of {turns}: one in flight, 200/s, 1,000/s, 512 in flight, a burst")
                in_turn = [*sides.values()]
                if turn % 2:
                    in_turn.reverse()  # what one leaves behind is not always the other's to pay
                for side in in_turn:
                    _turn(side)
            progress(f"{HELD_RATE:g}/s for {HELD_S:g} s each")
            for side in sides.values():
                side.add("held", side.client.paced(HELD_RATE, HELD_S))
        progress("an idle cell")
        idle = _idle(sides["system"], stack)
        return _small_figures(sides["system"], sides["floor"]) | {"idle_cores": idle}


@contextlib.contextmanager
def _one_instance(stack: Stack) -> Iterator[None]:
    """While the scaler is away nothing is started: a second instance, which it would want at 512 in flight, has no floor to stand beside."""
    scaler = stack.services["scaler"]
    scaler.ask_to_stop()
    scaler.join(time.monotonic() + STOP_S)
    try:
        yield
    finally:
        scaler.start()


def _warm_up(sides: Mapping[str, Side]) -> None:
    broker = sides["system"].processes["broker"]
    progress(f"warming up: {WARM_UP} each, then in every way, at most {WARM_ROUNDS} times")
    for side in sides.values():
        side.client.closed(IN_FLIGHT, WARM_UP)
    cost_s = math.inf
    for _ in range(WARM_ROUNDS):
        before, before_s = cost_s, _cpu_s(broker)
        for side in sides.values():
            side.client.singles(SINGLES)
            side.client.paced(200.0, 1.0)
            side.client.paced(1000.0, PACED_S / 2)
            side.client.closed(IN_FLIGHT, CLOSED)
            side.client.burst(BURST)
        cost_s = _cpu_s(broker) - before_s
        if cost_s > (1.0 - CALM) * before:
            return


def _turn(side: Side) -> None:
    side.add("1", side.client.singles(SINGLES))
    side.add("200", side.client.paced(200.0, PACED_S))
    with side.counted(int(1000 * PACED_S)):
        side.add("1000", side.client.paced(1000.0, PACED_S))
    side.add("512", [side.client.closed(IN_FLIGHT, CLOSED)])
    side.add("burst", [side.client.burst(BURST)])


def _small_figures(system: Side, floor: Side) -> dict[str, float]:
    out = {
        "p50_1": system.percentile("1", 50) / floor.percentile("1", 50),
        "p50_200": system.percentile("200", 50) / floor.percentile("200", 50),
        "p50_1000": system.percentile("1000", 50) / floor.percentile("1000", 50),
        "p99_1000": system.percentile("1000", 99) / floor.percentile("1000", 99),
        "throughput_512": system.median("512") / floor.median("512"),
        "burst": system.median("burst") / floor.median("burst"),
        "held_3000_growth": _growth(system.found["held"]),
    }
    for role in ("router", "instance", "broker"):
        out[f"cpu_{role}_us"] = 1e6 * system.cpu_s[role] / system.answered
    for name, side in (("system", system), ("floor", floor)):
        for key in ("1", "200", "1000", "held"):
            out[f"{name}_p50_ms_{key}"] = side.percentile(key, 50)
            out[f"{name}_p99_ms_{key}"] = side.percentile(key, 99)
        out[f"{name}_per_s_512"], out[f"{name}_per_s_burst"] = side.median("512"), side.median("burst")
        out[f"{name}_not_ok"] = sum(n for outcome, n in side.client.outcomes.items() if outcome != "ok")
    for role in ("forward", "serve"):
        out[f"cpu_floor_{role}_us"] = 1e6 * floor.cpu_s[role] / floor.answered
    return {key: round(value, 4) for key, value in out.items()}


def _growth(waits: list[float]) -> float:
    """Median latency in the last third over that in the first: about 1 where the rate is held."""
    third = len(waits) // 3
    return float(np.median(waits[-third:]) / np.median(waits[:third]))


def _large(stack: Stack, turns: int) -> dict[str, float]:
    registered(stack, "large", Network.slow())
    model = stack.data_dir / "large.onnx"
    with contextlib.ExitStack() as held:
        sides = {
            "system": held.enter_context(_system(stack, "large")),
            "bare": held.enter_context(_plain(stack.settings, model, ("bare",))),
        }
        with _one_instance(stack):
            for side in sides.values():
                side.client.burst(100)
            for turn in range(turns):
                progress(f"turn {turn + 1} of {turns}: a slow model, a burst and {T_RATE:g}/s")
                for side in sides.values():
                    side.add("burst", [side.client.burst(T_BURST)])
                    side.add("60", side.client.paced(T_RATE, T_PACED_S))
        system, bare = sides["system"], sides["bare"]
        out = {
            "t_burst": system.median("burst") / bare.median("burst"),
            "t_p50_60": system.percentile("60", 50) / bare.percentile("60", 50),
        }
        for name, side in sides.items():
            out[f"{name}_t_per_s_burst"], out[f"{name}_t_p50_ms_60"] = side.median("burst"), side.percentile("60", 50)
        return {key: round(value, 4) for key, value in out.items()}


@contextlib.contextmanager
def _system(stack: Stack, application: str) -> Iterator[Side]:
    headers: HeaderList = [(APPLICATION, application.encode()), (LATENCY_MS, str(OBJECTIVE_MS).encode())]
    replies = PlainClient.make_topic(stack.settings, f"bench-{application}-replies")
    client = PlainClient(
        stack.settings,
        topic=stack.settings.names.of(QUERIES),
        replies=replies,
        value=body(),
        headers=headers,
    )
    try:
        assert stack.broker is not None
        client.singles(1)
        yield Side(
            client,
            {
                "router": psutil.Process(stack.services["router-1"].pid),
                "instance": _instance(stack, application),
                "broker": psutil.Process(stack.broker.pid),
            },
        )
    finally:
        client.close()


def _instance(stack: Stack, architecture: str) -> psutil.Process:
    """The process that serves it: the one instance of its variant in the view."""
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        stack.step()
        for child in psutil.Process(stack.services["worker-1"].pid).children(recursive=True):
            if "infaas.workers.serve" in child.cmdline() and child.num_threads() > 1:
                return child
        time.sleep(0.1)
    raise InfaasError(f"no instance of {architecture} runs")


@contextlib.contextmanager
def _plain(settings: BusSettings, model: Path, stages: tuple[str, ...]) -> Iterator[Side]:
    name = "-".join(stages)
    first, work, replies = (PlainClient.make_topic(settings, f"bench-{name}-{part}") for part in ("in", "work", "out"))
    arguments = {"forward": [first, work], "serve": [work, str(model)], "bare": [first, str(model)]}
    environment = {
        **os.environ,
        "INFAAS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "INFAAS_TOPIC_PREFIX": settings.topic_prefix,
        "INFAAS_PARENT_PID": str(os.getpid()),
    }
    running = {
        stage: subprocess.Popen(
            [sys.executable, "-m", "infaas.bench.floor", stage, *arguments[stage]],
            env=environment,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        for stage in stages
    }
    try:
        for process in running.values():
            assert process.stdout is not None
            process.stdout.readline()
        headers: HeaderList = [(APPLICATION, b"bench"), (LATENCY_MS, str(OBJECTIVE_MS).encode())]
        client = PlainClient(settings, topic=first, replies=replies, value=body(), headers=headers)
        client.singles(1)
        yield Side(client, {stage: psutil.Process(process.pid) for stage, process in running.items()})
        client.close()
    finally:
        for process in running.values():
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def _idle(system: Side, stack: Stack) -> float:
    """Cores that the whole cell takes with one instance that has nothing to do."""
    everybody = [system.processes["broker"]]
    for service in stack.services.values():
        top = psutil.Process(service.pid)
        everybody += [top, *top.children(recursive=True)]
    time.sleep(CALM_S)  # what the last query set off, and a scaler that has just come
    before, begun = sum(map(_cpu_s, everybody)), time.perf_counter()
    time.sleep(IDLE_S)
    return round((sum(map(_cpu_s, everybody)) - before) / (time.perf_counter() - begun), 4)


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)
