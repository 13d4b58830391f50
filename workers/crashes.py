"""Whose fault an instance's crashes are, and when they are too many.

- *instance*: it died, and nobody knows better. Three within a minute, and it has failed.
- *record*: it died of a record that ran alone. The poison rule deals with the record; neither this crash counts nor the one
  before it, which made the record run alone. Unless it dies of eight in a row without answering one: then it is not them.
- *outside*: it said that it could not go on for a reason that may pass (no broker, a full disk). These don't count, but if
  it has not become ready for two minutes the reason is for the scaler to know: it has failed, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

CRASHES, WINDOW_S = 3, 60.0
RECORDS = 8
OUTSIDE_S = 120.0
Fault = Literal["instance", "record", "outside"]


@dataclass(frozen=True, slots=True)
class Crashes:
    """Those of one instance; `crash`, `ready` and `answered` give the next."""

    instance_s: tuple[float, ...] = ()
    """When the instance's own were, monotonic."""
    records: int = 0
    """Deaths of records since one was answered."""
    since_s: float | None = None
    """Since when a reason outside has kept it from becoming ready."""
    last_s: float = 0.0
    last: Fault | None = None

    def crash(self, fault: Fault, now_s: float) -> Crashes:
        """One more."""
        recent = tuple(at for at in self.instance_s if now_s - at < WINDOW_S)
        match fault:
            case "instance":
                return Crashes((*recent, now_s), self.records, None, now_s, fault)
            case "record":
                before = recent[:-1] if self.last == "instance" else recent
                return Crashes(before, self.records + 1, None, now_s, fault)
            case "outside":
                since = now_s if self.since_s is None else self.since_s
                return Crashes(recent, self.records, since, now_s, fault)

    def ready(self) -> Crashes:
        """It has loaded: what was outside has passed."""
        return replace(self, since_s=None)

    def answered(self) -> Crashes:
        """It has answered a record."""
        return replace(self, records=0)

    @property
    def failed(self) -> bool:
        """Whether it should not be started again."""
        outside = self.since_s is not None and self.last_s - self.since_s >= OUTSIDE_S
        return len(self.instance_s) >= CRASHES or self.records >= RECORDS or outside
