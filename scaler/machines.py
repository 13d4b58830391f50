"""When to add a machine, and which to give back. Pure.

Add one when something needed, or a build, finds no room, or a resource is above 80 % on all workers, or most workers hold overloaded
variants, or a variant is interfered everywhere it runs. One at a time: a machine that is coming counts as room.
Give back, after a quiet time, the one whose instances would fit elsewhere: drained first, stopped when empty. One whose worker
has died, or never came, is stopped at once: if it is still needed, the next decision adds another, unless the provider is left
alone for a while since machines of it do not stay (`pauses`).
Source: INFaaS's VM-Autoscaler (adding); DESIGN §8 (removing).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from infaas.scaler.pauses import Pause
from infaas.scaler.placement import place
from infaas.scaler.snapshot import Snapshot
from infaas.schemas.metadata import Machine

BUSY = 0.8
QUIET_S = 60.0
COMING_S = 60.0


@dataclass(frozen=True, slots=True)
class AddMachine:
    """Start one."""

    reason: str


@dataclass(frozen=True, slots=True)
class DrainMachine:
    """Move away what runs on it."""

    machine: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopMachine:
    """It is empty, or lost: stop what there is of it, and forget it."""

    machine: str
    reason: str
    lost: bool = False
    """Its worker died, or never came."""


@dataclass(frozen=True, slots=True)
class Park:
    """The machines, and what was measured on them."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    """Those this scaler started, by id; a machine's worker has its name."""
    since: Mapping[str, float] = field(default_factory=dict)
    """When each was asked for, monotonic seconds."""
    live: AbstractSet[str] = frozenset()
    """Workers that are there."""
    came: AbstractSet[str] = frozenset()
    """Machines whose worker was there at some time since they were asked for."""
    used: Mapping[str, float] = field(default_factory=dict)
    """Share of its cores that each worker used over the last 10 s."""
    overloaded: AbstractSet[str] = frozenset()
    """Workers that hold an overloaded instance."""
    interfered_everywhere: AbstractSet[str] = frozenset()
    """Variants that are interfered on all workers that run them."""
    builds_waiting: int = 0
    builds_starved: tuple[str, ...] = ()
    """Variants that one of these machines could build, and that have found no room for long."""
    pause: Pause = field(default_factory=Pause)
    """How long the provider is left alone."""


def decide(
    now: Snapshot, park: Park, unplaced: Mapping[str, int], *, at_most: int, quiet_since: Mapping[str, float]
) -> tuple[list[AddMachine | DrainMachine | StopMachine], dict[str, float]]:
    """What to do with machines, and since when each could be spared.

    Args:
        now: the picture.
        park: the machines.
        unplaced: what finds no room, by variant.
        at_most: machines this scaler may run.
        quiet_since: of the decision before.
    """
    out: list[AddMachine | DrainMachine | StopMachine] = []
    for name, machine in park.machines.items():
        empty = not any(n for (w, _), n in now.placed.items() if w == name) and name not in now.builds
        if machine.wanted == "drained" and empty:
            out.append(StopMachine(name, "it is empty"))
        elif _lost(now, park, name):
            reason = "its worker died" if name in park.came else f"no worker in {COMING_S:g} s"
            out.append(StopMachine(name, reason, lost=True))
    if out:
        return out, dict(quiet_since)  # what is still needed gets another machine when these are gone
    running = [n for n, m in park.machines.items() if m.wanted == "running"]
    coming = [n for n in running if n not in now.rooms and now.now_s - park.since.get(n, now.now_s) < COMING_S]
    why = _why_more(now, park, unplaced)
    if why and not coming and len(running) < at_most and park.pause.over(now.now_s):
        return [AddMachine(why)], {}
    quiet: dict[str, float] = {}
    if not why and not coming:
        for name in running:
            if name in now.rooms and _spared(now, name):
                quiet[name] = quiet_since.get(name, now.now_s)
        ripe = [n for n, since in quiet.items() if now.now_s - since >= QUIET_S]
        if ripe:
            name = max(ripe, key=lambda n: (now.rooms[n].price_per_hour, n))
            out.append(DrainMachine(name, f"what runs on it has fitted elsewhere for {QUIET_S:g} s"))
            quiet = {}
    return out, quiet


def _lost(now: Snapshot, park: Park, name: str) -> bool:
    """Whether a machine's worker is dead or has never come: it holds nothing, and counts for nothing."""
    return name not in park.live and (name in park.came or now.now_s - park.since.get(name, now.now_s) >= COMING_S)


def _why_more(now: Snapshot, park: Park, unplaced: Mapping[str, int]) -> str:
    if unplaced:
        return "no room for " + ", ".join(f"{n} x {v}" for v, n in sorted(unplaced.items()))
    if park.builds_waiting and not now.rooms:
        return "builds wait and there is no worker"
    if park.builds_starved:
        return "no room to build " + ", ".join(park.builds_starved)
    if not now.rooms:
        return ""
    if all(park.used.get(w, 0.0) > BUSY for w in now.rooms):
        return f"more than {BUSY:.0%} of the cores are used on all workers"
    if len(park.overloaded & set(now.rooms)) > BUSY * len(now.rooms):
        return f"more than {BUSY:.0%} of the workers hold overloaded variants"
    if park.interfered_everywhere:
        return "interfered on all its workers: " + ", ".join(sorted(park.interfered_everywhere))
    return ""


def _spared(now: Snapshot, name: str) -> bool:
    """Whether everything would fit without this machine."""
    if name in now.builds:
        return False
    rest = {w: room for w, room in now.rooms.items() if w != name}
    without = replace(now, rooms=rest)
    return bool(rest) and not place(without, now.fleet, now.fleet).unplaced
