"""Offered load by class, from the routers' cumulative counters: a rate over a short window. Pure but for its own state."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from infaas.scaler.snapshot import DemandClass
from infaas.schemas.reports import ClassCount, RouterReport

WINDOW_S = 2.0
FORGET_S = 30.0
Key = tuple[tuple[str, ...], float | None, str]


@dataclass
class _Router:
    """The counters of one life of a router, newest last."""

    seen: deque[tuple[float, dict[Key, int]]] = field(default_factory=deque)


class Demand:
    """Takes in reports, tells rates."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._routers: dict[str, _Router] = {}

    def report(self, report: RouterReport, now_s: float) -> None:
        """Takes in one router's counters, as of `now_s` (the telemetry topic's time)."""
        router = self._routers.setdefault(report.boot_id, _Router())
        counts: dict[Key, int] = {}
        for count in report.classes:
            key = _key(count)
            counts[key] = counts.get(key, 0) + count.offered
        if not router.seen:  # a router that is new has counted from zero
            router.seen.append((now_s - self._window_s / 4, {}) if report.sequence <= 1 else (now_s, counts))
        router.seen.append((now_s, counts))
        while len(router.seen) > 2 and router.seen[1][0] <= now_s - self._window_s:
            router.seen.popleft()

    def classes(self, now_s: float) -> tuple[DemandClass, ...]:
        """Queries/s by class over the last window; a router that has gone silent counts no more."""
        rates: dict[Key, float] = {}
        self.forget(now_s)
        for router in self._routers.values():
            last_s, last = router.seen[-1]
            if now_s - last_s > 2 * self._window_s:
                continue
            first_s, first = router.seen[0]
            span = max(last_s - first_s, self._window_s / 4)
            for key, count in last.items():
                grown = count - first.get(key, 0)
                if grown > 0:
                    rates[key] = rates.get(key, 0.0) + grown / span
        return tuple(
            DemandClass(eligible=k[0], latency_ms=k[1], optimize=k[2], rate=rate)  # type: ignore[arg-type]
            for k, rate in sorted(rates.items(), key=lambda item: (item[0][0], item[0][1] or 0.0, item[0][2]))
        )

    def forget(self, now_s: float) -> None:
        """Drops routers that have been silent for long."""
        self._routers = {boot: r for boot, r in self._routers.items() if now_s - r.seen[-1][0] <= FORGET_S}


def _key(count: ClassCount) -> Key:
    return count.eligible, count.latency_ms, count.optimize
