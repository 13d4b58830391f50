"""What is observed of what variants cost, beside what was measured when they were built. Pure but for its own state."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

from infaas.schemas.reports import WorkerReport
from infaas.schemas.servable import Servable

KEPT_S = 600.0
"""Somebody who comes back every few minutes is not planned for anew each time."""
STEP = 0.1
"""What differs by less is noise, and moves nothing."""


class Costs:
    """Observed over expected cost, by variant; all times are seconds of the telemetry topic."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}

    def take(self, report: WorkerReport, at_s: float) -> None:
        """Takes in a report; of an instance that has not been busy yet nothing is known."""
        for one in report.instances:
            if one.cost_ratio != 1.0:
                self._seen.setdefault(one.variant, {})[report.worker, one.instance] = at_s, one.cost_ratio

    def ratios(self, now_s: float) -> dict[str, float]:
        """The mean of a variant's instances."""
        for variant, seen in list(self._seen.items()):
            kept = {who: said for who, said in seen.items() if said[0] > now_s - KEPT_S}
            if kept:
                self._seen[variant] = kept
            else:
                del self._seen[variant]
        return {v: mean(ratio for _, ratio in seen.values()) for v, seen in self._seen.items()}


def corrected(variant: Servable, ratio: float) -> Servable:
    """The variant as what was observed says."""
    step = max(STEP, round(ratio / STEP) * STEP)
    if abs(step - 1.0) < STEP / 2:
        return variant
    return replace(variant, profile=variant.profile.model_copy(update={"cost_ratio": step}))
