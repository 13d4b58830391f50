"""How fast the router's loop is beside a bare one: consume and produce, nothing between. Sides in turns, on the same Kafka.

Queries lie ready when a side is let go, and the other sides stand still, so that nothing but the loop and the broker is measured.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infaas.bench.fleet import Fleet
from infaas.bench.lone_router import REAL, Ends, Side, headers, lone_router
from infaas.bus.admin import Admin
from infaas.bus.embedded import EmbeddedBroker
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.cli.console import progress
from infaas.host.spawn import spawn
from infaas.schemas.topics import QUERIES

TURNS = 5
SMALL, LARGE = (200, 20_000), (150_000, 600)
"""Bytes of a query, and queries a turn."""
SESSION_MS = 120_000
"""A side stands still for longer than members of a group may be silent."""
FLEETS = {"router": Fleet(1, REAL), "router_40x1000": Fleet(40, 1000)}
KEYS_10000 = Fleet(9, 1000)


def router_loop(*, turns: int = TURNS) -> dict[str, float]:
    """Measures; returns ratios, and what they are made of."""
    with tempfile.TemporaryDirectory(prefix="infaas-bench-") as folder, EmbeddedBroker.start() as broker:
        base = BusSettings(bootstrap_servers=broker.bootstrap_servers, session_timeout_ms=SESSION_MS)
        out = {"ready_10000_keys_s": _ready(base, KEYS_10000, Path(folder))}
        with contextlib.ExitStack() as held:
            sides = {"bare": held.enter_context(_bare(base))}
            for name, fleet in FLEETS.items():
                progress(f"starting a router on {fleet.variants} variants x {fleet.workers} workers")
                settings = base.model_copy(update={"topic_prefix": f"{name}."})
                sides[name], _ = held.enter_context(lone_router(settings, fleet, Path(folder)))
            outbox = Outbox(base, client_id="queries")
            out |= _rates(outbox, sides, turns)
            outbox.close()
        return {key: round(value, 4) for key, value in out.items()}


def _rates(outbox: Outbox, sides: dict[str, Side], turns: int) -> dict[str, float]:
    few = {name: side for name, side in sides.items() if name in ("bare", "router")}
    small = _measure(outbox, sides, *SMALL, turns)
    cpu_us = {f"{name}_cpu_us_200b": float(np.median(side.cpu_us)) for name, side in sides.items()}
    large = _measure(outbox, few, *LARGE, turns)
    ratio = {name: rate / small["bare"] for name, rate in small.items()}
    out = {
        "loop_ratio_200b": ratio["router"],
        "loop_ratio_150kb": large["router"] / large["bare"],
        "loop_40x1000_ratio": ratio["router_40x1000"] / ratio["router"],
    }
    out |= {f"{name}_per_s_200b": rate for name, rate in small.items()}
    out |= {f"{name}_per_s_150kb": rate for name, rate in large.items()}
    return out | cpu_us


def _measure(outbox: Outbox, sides: dict[str, Side], size: int, records: int, turns: int) -> dict[str, float]:
    for turn in range(turns + 1):
        progress(f"{size} bytes: turn {turn} of {turns}" if turn else f"{size} bytes: warming up")
        for side in sides.values():
            if turn <= 1:
                side.forget()
            side.turn(outbox, b"x" * size, records)
    return {name: float(np.median(side.rates)) for name, side in sides.items()}


def _ready(base: BusSettings, fleet: Fleet, folder: Path) -> float:
    """From the start of a router's process to its first record, on a metadata topic of 10,000 keys."""
    progress("a router's start on 10,000 keys")
    settings = base.model_copy(update={"topic_prefix": "ready."})
    with lone_router(settings, fleet, folder) as (_, ready_s):
        return ready_s


@contextlib.contextmanager
def _bare(settings: BusSettings) -> Iterator[Side]:
    source, target = "bare-in", "bare-out"
    admin = Admin(settings, client_id="bench")
    try:
        admin.make_topics({source: QUERIES.partitions, target: REAL})
    finally:
        admin.close()
    process = spawn(
        "infaas.bench.bare_loop",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        environment={
            "INFAAS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "INFAAS_BENCH_BARE": f"{source} {QUERIES.partitions} {target} {REAL}",
        },
    )
    ends = Ends(settings, target, REAL)
    try:
        outbox = Outbox(settings, client_id="bench")
        outbox.send_and_wait(source, value=b"{}", headers=headers(), partition=0)
        outbox.close()
        ends.wait_for(1)
        side = Side(process, source=source, headers=headers(), ends=ends)
        side.freeze()
        yield side
    finally:
        process.kill()
        process.wait()
        ends.close()
