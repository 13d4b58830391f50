"""The matrix: who is hit, and by what.

A fault is struck, lasts, and is healed; what it does to whom stands in one table.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infaas.bench.chaos.stage import Stage

Heal = Callable[[], None]
Strike = Callable[[Stage], Heal]
SHORT_S, LONG_S, AWAY_S, FAR_AWAY_S = 5.0, 12.0, 7.0, 30.0
SLOW_DELAY_S, SLOW_BYTES_PER_S = 0.05, 125_000.0  # 100 ms a round trip, 1 Mbit/s
CLOCK_S = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell of the matrix."""

    role: str
    kind: str
    strike: Strike
    lasts_s: float = 0.0
    linked: bool = False
    """Whether services must come to the broker through links."""
    ends_services: int = 0
    """How many services it ends on purpose."""

    @property
    def name(self) -> str:
        """Role and kind."""
        return f"{self.role}/{self.kind}"


def _nothing() -> None:
    """There is nothing to heal."""


def _signal(role: str, number: signal.Signals) -> Strike:
    def strike(stage: Stage) -> Heal:
        for pid in stage.processes(role):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return _nothing

    return strike


def _freeze(role: str) -> Strike:
    def strike(stage: Stage) -> Heal:
        pids = stage.processes(role)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

        def heal() -> None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # somebody may have given it up
                    os.kill(pid, signal.SIGCONT)

        return heal

    return strike


def _broker_killed(stage: Stage) -> Heal:
    stage.broker.kill()
    return stage.broker.restart


def _broker_stopped(stage: Stage) -> Heal:
    stage.broker.stop()
    return stage.broker.restart


def _slow(role: str) -> Strike:
    def strike(stage: Stage) -> Heal:
        link = stage.link_of(role)
        stage.links.set(link, delay_s=SLOW_DELAY_S, bytes_per_s=SLOW_BYTES_PER_S)
        return lambda: stage.links.set(link)

    return strike


def _cut(role: str) -> Strike:
    def strike(stage: Stage) -> Heal:
        link = stage.link_of(role)
        stage.links.set(link, cut=True)
        return lambda: stage.links.set(link)

    return strike


def _clock(role: str, by_s: float) -> Strike:
    def strike(stage: Stage) -> Heal:
        path = stage.clock_of(role)
        path.write_text(str(by_s))
        return lambda: _write(path, "0")

    return strike


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _disk_full(stage: Stage) -> Heal:
    """The disk that artifacts are fetched to is full, those fetched are gone, and the instance dies."""
    cache = stage.cache_of_serving_worker()
    for path in sorted(cache.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
    filler = cache / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))
    _signal("instance", signal.SIGKILL)(stage)
    return filler.unlink


def _faults() -> tuple[Fault, ...]:
    out = []
    for role in ("router", "instance", "supervisor", "scaler", "registrar", "client"):
        ends = int(role not in ("instance", "client"))
        out += [
            Fault(role, "SIGKILL", _signal(role, signal.SIGKILL), ends_services=ends),
            Fault(role, "SIGTERM", _signal(role, signal.SIGTERM), ends_services=ends),
            Fault(role, "SIGSTOP 5 s", _freeze(role), SHORT_S),
        ]
        if role in ("router", "instance", "supervisor", "scaler"):
            out.append(Fault(role, "SIGSTOP 12 s", _freeze(role), LONG_S))
    out += [
        Fault("machine", "SIGKILL", _signal("machine", signal.SIGKILL), ends_services=1),
        Fault("machine", "SIGSTOP 5 s", _freeze("machine"), SHORT_S),
        Fault("machine", "SIGSTOP 12 s", _freeze("machine"), LONG_S),
        Fault("instance", "disk full", _disk_full, SHORT_S),
    ]
    for role in ("router", "machine", "scaler"):
        out += [
            Fault(role, "clock +5 s", _clock(role, CLOCK_S), SHORT_S),
            Fault(role, "clock -5 s", _clock(role, -CLOCK_S), SHORT_S),
        ]
    out += [
        Fault("broker", "SIGKILL", _broker_killed),
        Fault("broker", "SIGTERM", _broker_stopped),
        Fault("broker", "SIGSTOP 5 s", _freeze("broker"), SHORT_S),
        Fault("broker", "away 7 s", _broker_killed, AWAY_S),
        Fault("broker", "away 30 s", _broker_killed, FAR_AWAY_S),
    ]
    for role in ("router", "machine", "scaler", "registrar", "client"):
        out.append(Fault(role, "slow link", _slow(role), SHORT_S, linked=True))
    out += [
        Fault(role, "cut off 7 s", _cut(role), AWAY_S, linked=True)
        for role in ("router", "machine", "scaler", "client")
    ]
    return tuple(out)


FAULTS = _faults()
