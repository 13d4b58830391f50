"""What runs of some variants, and what could: made once a view, then kept and brought up to the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from infaas.router.hops import Hops
from infaas.router.live import Live
from infaas.router.places import Places
from infaas.router.policy import NotYet, RunningAt, Scene
from infaas.store.view import View


class Loads(Protocol):
    """What is known of load."""

    hops: Hops

    def running(self, view: View, variant: str, now_ms: float) -> Sequence[Live]:
        """Instances of a variant that run and own partitions."""

    def not_yet(self, view: View, variant: str, now_ms: float, *, placeable: bool) -> NotYet:
        """A variant that does not run."""


class Scenes:
    """Scenes of the view as it is now: made once a view, then changed in place."""

    def __init__(self, load: Loads) -> None:
        self._load = load
        self._view: View | None = None
        self._made: dict[tuple[str, ...], tuple[Scene, list[Live], _NotYets]] = {}
        self._places = Places(())

    def clear(self) -> None:
        """Forgets them."""
        self._made.clear()

    def at(self, view: View, variants: tuple[str, ...], now_ms: float) -> Scene:
        """The scene of these variants at this moment."""
        if view is not self._view:
            self._view, self._places = view, Places(view.live_workers.values())
            self._made.clear()
        made = self._made.get(variants)
        if made is None:
            made = self._made[variants] = self._make(view, variants, now_ms)
        scene, lives, not_yet = made
        for live in lives:
            live.refresh(now_ms)
        not_yet.at(now_ms)
        scene.overhead_ms = self._load.hops.overhead_ms
        return scene

    def _make(self, view: View, variants: tuple[str, ...], now_ms: float) -> tuple[Scene, list[Live], _NotYets]:
        running: dict[str, list[RunningAt]] = {}
        lives: list[Live] = []
        for name in variants:
            found = self._load.running(view, name, now_ms)
            if found:
                running[name] = [live.seen for live in found]
                lives += found
        not_yet = _NotYets(self._load, view, tuple(name for name in variants if name not in running), self._places)
        return Scene(running, not_yet), lives, not_yet


class _NotYets(Mapping[str, NotYet]):
    """What does not run, each worked out when it is asked for, once a moment."""

    def __init__(self, load: Loads, view: View, names: tuple[str, ...], places: Places) -> None:
        self._load, self._view, self._names, self._places = load, view, names, places
        self._now_ms = 0.0
        self._found: dict[str, NotYet] = {}

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
            placeable = self._places.hold(self._view.variants[name])
            found = self._load.not_yet(self._view, name, self._now_ms, placeable=placeable)
            self._found[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
