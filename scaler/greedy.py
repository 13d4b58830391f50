"""Which fleet serves all classes at the lowest cost, and whether to go there now. Pure.

Upwards at once: below the slack the cheaper of two moves is taken, more of what would fill the gap, or the best fleet from
nothing; the price of a move is the resulting fleet's, plus what loading costs.
Downwards slowly: an instance goes when the fleet without it would have held, with a band, for T_v.
What stops is never needed by what has not started yet: instances count for leaving only once they are active.
The last instance of a variant waits for a moment without work, or that work would want it back; but no more than PATIENCE times T_v.
Source: INFaaS's greedy heuristic; DESIGN §8, §9 for the whole-fleet price and the hysteresis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infaas.scaler.fill import Option, fill
from infaas.scaler.headroom import SLACK, Class, headroom, leftover, ordered
from infaas.scaler.snapshot import Snapshot

BAND = 1.15  # without the instance there must be this much more than the slack, so that noise does not swing
HOLD_S = 10.0
PATIENCE = 2.0
SAVING = 0.9
SAME = 1e-3
"""Costs that differ by less are the same: the choice is then by what it is good for."""
LAMBDA = 30.0  # a second of loading counts as half a minute of running
BestFleet = Callable[[Sequence[Class], float], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Memory:
    """Since when something has been true, monotonic seconds."""

    surplus: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """By variant: since when fewer instances would have held, and the most that were needed meanwhile."""
    saving_since: float | None = None
    """A fleet that is a tenth cheaper would have held."""


@dataclass(frozen=True, slots=True)
class Target:
    """What should run."""

    fleet: Mapping[str, int]
    needed: Mapping[str, int]
    """Of the fleet, what the load needs now; the rest may make room."""
    headroom: float
    reasons: Mapping[str, str] = field(default_factory=dict)
    """By variant: why its count changes."""


def decide(
    now: Snapshot, memory: Memory, *, idle_s: float = HOLD_S, best: BestFleet | None = None
) -> tuple[Target, Memory]:
    """The fleet to run, and what to remember.

    Args:
        now: the picture.
        memory: of the decision before.
        idle_s: how long a variant without any demand stays warm.
        best: finds the cheapest fleet for classes and a slack; None = `best_fleet`.
    """
    classes: list[Class] = [(c.rate, now.options(c)) for c in now.classes]
    served = [c for c in classes if c[1]]
    have = {v: n for v, n in now.fleet.items() if v in now.variants}
    room = headroom(served, have)

    def cheapest(asked: Sequence[Class], slack: float) -> Mapping[str, int]:
        # A solver may know less of what classes do to each other: what it leaves out is added.
        return best_fleet(asked, slack, best(asked, slack) if best else None)

    wanted_fleet = cheapest(served, SLACK)
    target, reasons = dict(have), {v: "its record is gone" for v in now.fleet if v not in have}
    if room < SLACK:
        chosen = _cheapest_move(now, have, wanted_fleet, _pruned(now, served, best_fleet(served, SLACK, have)))
        target = _union(have, chosen)
        reasons |= {v: f"headroom {room:.2f} below {SLACK:g}" for v in target if target[v] > have.get(v, 0)}
    saving_since = memory.saving_since
    held = cheapest(served, SLACK * BAND)
    if have and now.cost(held) < SAVING * now.cost(have) and any(held.get(v, 0) > have.get(v, 0) for v in held):
        saving_since = now.now_s if saving_since is None else saving_since
        if now.now_s - saving_since >= _hold_s(now, held):
            target, saving_since = _union(target, held), None
            saved = 1 - now.cost(held) / now.cost(have)
            reasons |= {v: f"saves {saved:.0%} of the cost" for v in held if held[v] > have.get(v, 0)}
    else:
        saving_since = None
    for variant in now.wanted & set(now.variants):
        if not target.get(variant):
            target[variant] = 1
            reasons[variant] = "wanted: it has work and does not run"
    surplus = _shrink(now, served, target, memory.surplus, reasons, idle_s)
    needed = _union(
        {v: min(n, target.get(v, 0)) for v, n in wanted_fleet.items()}, {v: 1 for v in now.wanted if target.get(v)}
    )
    shown = min(room, 1e6)
    return Target({v: n for v, n in target.items() if n}, needed, shown, reasons), Memory(surplus, saving_since)


def best_fleet(classes: Sequence[Class], slack: float, base: Mapping[str, int] | None = None) -> dict[str, int]:
    """The base, and the cheapest instances for what does not fit on it."""
    fleet = dict(base or {})
    asked = ordered([c for c in classes if c[0] > 0 and c[1]])
    for upto in range(1, len(asked) + 1):  # what earlier classes leave of their instances is free for the next
        _top_up(fleet, asked[:upto], slack)
    while _top_up(fleet, asked, slack):  # classes that came later may have changed who uses what
        pass
    return fleet


def _top_up(fleet: dict[str, int], classes: Sequence[Class], slack: float) -> bool:
    added = False
    for left, (_, options) in leftover(classes, fleet, slack):
        for variant, count in _most_useful(fleet, classes, left, options).items():
            fleet[variant] = fleet.get(variant, 0) + count
            added = True
    return added


def _most_useful(
    fleet: Mapping[str, int], classes: Sequence[Class], left: float, options: Sequence[Option]
) -> Mapping[str, int]:
    """The fill of a class; among equally cheap ones that which all classes gain most from.

    The fill knows one class, and takes the fastest of what costs the same; a somewhat slower one that more classes may use leaves
    more room to all of them, and saves the instance they would need next.
    """
    first = fill(left, options, fleet)
    prices = {o.variant: o.cost_per_hour for o in options}
    limit = _cost(first, prices) * (1 + SAME)
    alone = [{o.variant: o.enough(left, fleet.get(o.variant, 0))} for o in options]
    fleets = [first, *(f for f in alone if f != first and _cost(f, prices) <= limit)]
    if len(fleets) == 1:
        return first
    return max(fleets, key=lambda f: round(headroom(classes, _sum(fleet, f)), 3))  # of equals the first


def _cost(fleet: Mapping[str, int], prices: Mapping[str, float]) -> float:
    return sum(prices[v] * n for v, n in fleet.items())


def _sum(fleet: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {v: fleet.get(v, 0) + more.get(v, 0) for v in {**fleet, **more}}


def price_of_move(now: Snapshot, have: Mapping[str, int], fleet: Mapping[str, int]) -> float:
    """USD: an hour of the whole resulting fleet, and what loading costs."""
    started = {v: max(0, n - have.get(v, 0)) for v, n in fleet.items()}
    loading = sum(now.variants[v].cost_per_hour * now.variants[v].load_s / 3600.0 * n for v, n in started.items())
    return now.cost(fleet) + LAMBDA * loading


def _cheapest_move(now: Snapshot, have: Mapping[str, int], *fleets: Mapping[str, int]) -> Mapping[str, int]:
    return min(fleets, key=lambda f: (price_of_move(now, have, f), sum(f.values()), sorted(f.items())))


def _pruned(now: Snapshot, classes: Sequence[Class], fleet: Mapping[str, int]) -> dict[str, int]:
    """What is left of a fleet without what it does not need, the most expensive first: what runs for nothing must not count."""
    left = dict(fleet)
    for variant in sorted(fleet, key=lambda v: (-now.variants[v].cost_per_hour, v)):
        while left[variant] and headroom(classes, {**left, variant: left[variant] - 1}) >= SLACK:
            left[variant] -= 1
    return {v: n for v, n in left.items() if n}


def _union(fleet: Mapping[str, int], another: Mapping[str, int]) -> dict[str, int]:
    return {v: max(fleet.get(v, 0), another.get(v, 0)) for v in {**fleet, **another}}


def _hold_s(now: Snapshot, fleet: Mapping[str, int]) -> float:
    return max([HOLD_S, *(now.variants[v].load_s for v in fleet)])


def _shrink(
    now: Snapshot,
    classes: Sequence[Class],
    target: dict[str, int],
    before: Mapping[str, tuple[float, int]],
    reasons: dict[str, str],
    idle_s: float,
) -> dict[str, tuple[float, int]]:
    """Takes instances out of `target` that were not needed for long enough; returns since when the rest are not."""
    out: dict[str, tuple[float, int]] = {}
    running = {v: min(n, now.active.get(v, 0)) for v, n in target.items()}

    def needed_least(variant: str) -> tuple[float, float, str]:
        without = {**running, variant: max(0, running[variant] - 1)}
        return -now.variants[variant].cost_per_hour, -round(headroom(classes, without), 3), variant

    for variant in sorted(target, key=needed_least):
        if target[variant] > now.fleet.get(variant, 0):
            continue  # just decided upon
        least = 1 if variant in now.wanted else 0
        enough = _enough(classes, running, variant, target[variant], least)
        if enough >= target[variant]:
            continue
        since, most = before.get(variant, (now.now_s, 0))
        most = max(most, enough)
        idle = not any(c[0] > 0 and any(o.variant == variant for o in c[1]) for c in classes)
        hold = max(now.variants[variant].load_s, idle_s if idle and not most else HOLD_S)
        in_hand = not most and variant in now.busy and now.now_s - since < PATIENCE * hold
        if now.now_s - since >= hold and most < target[variant] and not in_hand:
            target[variant] = most
            running[variant] = min(running[variant], most)
            reasons[variant] = f"not needed for {hold:g} s"
        else:
            out[variant] = since, most
    return out


def _enough(classes: Sequence[Class], running: Mapping[str, int], variant: str, count: int, least: int) -> int:
    """How many instances of a variant would do, the others running as they are."""
    while count > least:
        # An instance that does not run yet adds nothing, so its going changes nothing but what was hoped of it.
        without = {**running, variant: min(running[variant], count - 1)}
        if headroom(classes, without) < SLACK * BAND:
            break
        count -= 1
    return count
