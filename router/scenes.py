"""What runs of some variants, and what could: made once a view, then kept and brought up to the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Protocol

from infaas.router.hops import Hops
from infaas.router.lineup import Lineup
from infaas.router.live import Live
from infaas.router.places import Places
from infaas.router.policy import NotYet, Scene
from infaas.schemas.metadata import Assignment, Instance, Variant
from infaas.store.view import View


class Loads(Protocol):
    """What is known of load."""

    hops: Hops

    def running(self, view: View, variant: str, now_ms: float) -> Sequence[Live]:
        """Instances of a variant that run and own partitions."""

    def not_yet(self, view: View, variant: str, now_ms: float, *, placeable: bool) -> NotYet:
        """A variant that does not run."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A lineup, and the records that it was made from."""

    lineup: Lineup
    variant: Variant | None
    assignment: Assignment | None
    facts: tuple[Instance, ...]

    def holds(self, view: View, name: str) -> bool:
        """Whether it would be the same made of this view."""
        facts = view.instances_of.get(name, ())
        return (
            view.variants.get(name) is self.variant
            and view.assignments.get(name) is self.assignment
            and len(facts) == len(self.facts)
            and all(map(is_, facts, self.facts))
        )


class Scenes:
    """Scenes of the view as it is now: made once a view, then changed in place.

    What runs of a variant is made again only where a view has other records of it.
    """

    def __init__(self, load: Loads) -> None:
        self._load = load
        self._view: View | None = None
        self._scenes: dict[tuple[str, ...], tuple[Scene, _NotYets]] = {}
        self._made: dict[str, _Made] = {}
        self._fresh: set[str] = set()
        """Variants whose lineup was seen to hold for this view."""
        self._places = Places(())

    def clear(self) -> None:
        """Forgets them."""
        self._scenes.clear()
        self._made.clear()

    def at(self, view: View, variants: tuple[str, ...], now_ms: float) -> Scene:
        """The scene of these variants at this moment."""
        if view is not self._view:
            self._view, self._places = view, Places(view.live_workers.values())
            self._scenes.clear()
            self._fresh.clear()
        found = self._scenes.get(variants)
        if found is None:
            found = self._scenes[variants] = self._make(view, variants, now_ms)
        scene, not_yet = found
        not_yet.at(now_ms)
        scene.overhead_ms = self._load.hops.overhead_ms
        return scene

    def _make(self, view: View, variants: tuple[str, ...], now_ms: float) -> tuple[Scene, _NotYets]:
        lineups = {name: self._lineup(view, name, now_ms) for name in variants}
        running = {name: lineup for name, lineup in lineups.items() if lineup}
        rest = tuple(name for name in variants if name not in running)
        not_yet = _NotYets(self._load, view, rest, self._places)
        return Scene(running, not_yet), not_yet

    def _lineup(self, view: View, name: str, now_ms: float) -> Lineup:
        made = self._made.get(name)
        if made is None or (name not in self._fresh and not made.holds(view, name)):
            lineup = Lineup(self._load.running(view, name, now_ms), now_ms)
            records = view.variants.get(name), view.assignments.get(name), view.instances_of.get(name, ())
            made = self._made[name] = _Made(lineup, *records)
        self._fresh.add(name)
        return made.lineup


class _NotYets(Mapping[str, NotYet]):
    """What does not run, each worked out when it is asked for, once a moment."""

    def __init__(self, load: Loads, view: View, names: tuple[str, ...], places: Places) -> None:
        self._load, self._view, self._names, self._places = load, view, dict.fromkeys(names), places
        self._now_ms = 0.0
        self._found: dict[str, NotYet] = {}
        self._placeable: dict[str, bool] = {}

    def at(self, now_ms: float) -> None:
        """From now on it is this moment."""
        self._now_ms = now_ms
        if self._found:
            self._found = {}

    def __getitem__(self, name: str) -> NotYet:
        found = self._found.get(name)
        if found is None:
            if name not in self._names:
                raise KeyError(name)
            placeable = self._placeable.get(name)
            if placeable is None:
                placeable = self._placeable[name] = self._places.hold(self._view.variants[name])
            found = self._load.not_yet(self._view, name, self._now_ms, placeable=placeable)
            self._found[name] = found
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
