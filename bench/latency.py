"""Latency of a query through the whole system, against a plain three-topic echo on the same Kafka plus the engine's own time.

Both are measured in turns in one run, with the same payload, the same client library and the same settings: one query in flight,
then 200 a second. A ratio of 1 would mean that choosing, owning, batching, checking and accounting cost nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infaas.bench.model import model_and_validation
from infaas.bench.own_stack import own_stack
from infaas.bus.admin import Admin
from infaas.bus.settings import BusSettings
from infaas.cli.console import progress
from infaas.cli.stack import Shape, Stack
from infaas.client import Client, follow
from infaas.client.exchange import Exchange
from infaas.schemas import oip
from infaas.schemas.headers import CONTENT_LENGTH

SINGLES, TURNS = 400, 8
RATE, PACED_S = 200.0, 16.0
WARM_UP = 500  # until the broker has compiled what it runs all the time
OBJECTIVE_MS = 5_000.0
APPLICATION = "bench"
Ask = Callable[[], "Future[Any]"]


@dataclass
class Side:
    """One of the two: how it is asked, and what it took (ms)."""

    ask: Ask
    single: list[float] = field(default_factory=list)
    paced: list[float] = field(default_factory=list)


def latency() -> dict[str, float]:
    """Measures; returns ratios, and the milliseconds they are made of."""
    with own_stack(Shape(workers=1, idle_s=3600)) as stack:
        return _measure(stack)


def _measure(stack: Stack) -> dict[str, float]:
    model, validation, row = model_and_validation()
    with Client(stack.settings, repository_url=stack.repository_url) as client:
        progress("registering a small model")
        found = client.register(
            "bench",
            application=APPLICATION,
            model=model,
            validation_set=validation,
            max_batch=8,
            cores=(1,),
            generators=("onnx",),
        )
        for now in follow(stack.settings, "bench", found.version, timeout=120):
            variants = now.variants
        profile = variants[0].profile
        assert profile is not None
        echo = _Echo(stack.settings)
        try:
            sides = {"echo": Side(echo.asker(row)), "system": Side(_asker(client, row))}
            queue, inference = _run(sides, client, row)
        finally:
            echo.close()
    return _figures(sides, profile.latency_ms(1), queue, inference)


def _asker(client: Client, row: Any) -> Ask:
    return lambda: client.submit(APPLICATION, {"x": row}, latency_ms=OBJECTIVE_MS)


class _Echo:
    """Two processes and two topics, and an exchange that asks them."""

    def __init__(self, settings: BusSettings) -> None:
        names = [f"{settings.topic_prefix}echo-{n}" for n in (1, 2)]
        self._admin = Admin(settings, client_id="bench")
        self._admin.make_topics(dict.fromkeys(names, 1))
        environment = {
            **os.environ, "INFAAS_BOOTSTRAP_SERVERS": settings.bootstrap_servers, "INFAAS_PARENT_PID": str(os.getpid()),
        }  # fmt: skip
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "infaas.bench.echo", source, target],
                env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            )
            for source, target in zip(names, [names[1], "reply"], strict=True)
        ]  # fmt: skip
        for process in self._processes:
            assert process.stdout is not None
            process.stdout.readline()
        self._topic = names[0]
        self._exchange = Exchange(settings, client_id="bench-echo", reply_topic=None)

    def asker(self, row: Any) -> Ask:
        """Asks with just the payload that the system gets."""

        def ask() -> Future[Any]:
            value, length = oip.encode_request(oip.InferRequest({"x": row}, binary=True))
            headers = [(CONTENT_LENGTH, str(length).encode())]
            return self._exchange.ask(self._topic, value=value, headers=headers, timeout=30.0)

        return ask

    def close(self) -> None:
        """Ends the processes."""
        self._exchange.close()
        for process in self._processes:
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
        self._admin.close()


def _run(sides: Mapping[str, Side], client: Client, row: Any) -> tuple[list[float], list[float]]:
    progress("warming up")
    client.infer(APPLICATION, {"x": row}, latency_ms=60_000.0)
    for side in sides.values():
        for _ in range(WARM_UP):
            side.ask().result()
    queue: list[float] = []
    inference: list[float] = []
    progress(f"one in flight: {SINGLES} each, in turns of {SINGLES // TURNS}")
    for _ in range(TURNS):
        for name, side in sides.items():
            for _ in range(SINGLES // TURNS):
                begun = time.perf_counter()
                reply = side.ask().result()
                side.single.append((time.perf_counter() - begun) * 1000.0)
                if name == "system":
                    queue.append(reply.queue_ms)
                    inference.append(reply.inference_ms)
    progress(f"{RATE:g} a second: {PACED_S:g} s each, in turns of {PACED_S / TURNS:g} s")
    for _ in range(TURNS):
        for side in sides.values():
            _paced(side, PACED_S / TURNS)
    return queue, inference


def _paced(side: Side, seconds: float) -> None:
    begun, waiting = time.perf_counter(), []
    for n in range(int(seconds * RATE)):
        due = begun + n / RATE
        while (left := due - time.perf_counter()) > 0:
            time.sleep(min(left, 0.001))
        sent = time.perf_counter()
        future = side.ask()
        future.add_done_callback(lambda _, sent=sent: side.paced.append((time.perf_counter() - sent) * 1000.0))  # type: ignore[misc]
        waiting.append(future)
    for future in waiting:
        future.result()


def _figures(
    sides: Mapping[str, Side], engine_ms: float, queue: list[float], inference: list[float]
) -> dict[str, float]:
    out: dict[str, float] = {}
    picks: dict[str, Callable[[Side], list[float]]] = {"1": lambda s: s.single, "200": lambda s: s.paced}
    for load, pick in picks.items():
        for percent in (50, 99):
            echo, system = (float(np.percentile(pick(sides[name]), percent)) for name in ("echo", "system"))
            out[f"p{percent}_ratio_{load}"] = round(system / (echo + engine_ms), 3)
            out[f"echo_p{percent}_ms_{load}"] = round(echo, 3)
            out[f"system_p{percent}_ms_{load}"] = round(system, 3)
    out["engine_ms"] = round(engine_ms, 4)
    out["to_batch_p50_ms_1"] = round(float(np.median(queue)), 3)
    out["inference_p50_ms_1"] = round(float(np.median(inference)), 3)
    return out
