"""What became of the queries: figures for the screen and for the report. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infaas.client import Reply


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of caller: what it asks for, and how many queries/s at the peak."""

    name: str
    asked: Mapping[str, Any]
    peak: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One query that came to an end."""

    kind: str
    sent_s: float
    """Since the ramp began."""
    reply: Reply | None
    """None = no answer came in time: lost, as far as the caller can see."""
    error: str = ""
    correct: bool = False

    @property
    def ok(self) -> bool:
        """Whether a model answered."""
        return self.reply is not None and self.reply.outcome == "ok"

    @property
    def violated(self) -> bool:
        """Not answered within its objective: late, expired, refused, failed or lost."""
        return not (self.ok and self.reply is not None and self.reply.objective_met)


@dataclass(frozen=True, slots=True)
class Moment:
    """What ran at one moment of the ramp."""

    at_s: float
    offered: float
    headroom: float
    cost_per_hour: float
    instances: Mapping[str, int] = field(default_factory=dict)


def percentiles(answers: Sequence[Answer]) -> tuple[float, float]:
    """Median and 99th percentile of the latency of what was answered, ms; NaN if nothing was."""
    took = [a.reply.latency_ms for a in answers if a.ok and a.reply is not None]
    if not took:
        return float("nan"), float("nan")
    p50, p99 = np.percentile(took, [50, 99])
    return float(p50), float(p99)


def summary(
    answers: Sequence[Answer], *, duplicates: int, moments: Sequence[Moment], static_per_hour: float
) -> dict[str, Any]:
    """The report's figures."""
    ok = [a for a in answers if a.ok]
    lost = [a for a in answers if a.reply is None]
    p50, p99 = percentiles(answers)
    seconds = moments[-1].at_s - moments[0].at_s if len(moments) > 1 else 0.0
    used = Counter(a.reply.variant for a in ok if a.reply is not None)
    return {
        "queries_sent": len(answers),
        "replies": len(ok),
        "rejections": len(answers) - len(ok) - len(lost),
        "lost": len(lost),
        "duplicates": duplicates,
        "violations": sum(a.violated for a in answers),
        "reasons": dict(
            Counter(a.reply.reason or a.reply.outcome for a in answers if a.reply is not None and not a.ok)
        ),
        "served_accuracy": sum(a.correct for a in ok) / len(ok) if ok else 0.0,
        "accuracy_by_kind": {
            kind: sum(a.correct for a in ok if a.kind == kind) / sum(a.kind == kind for a in ok)
            for kind in sorted({a.kind for a in ok})
        },
        "p50_ms": p50,
        "p99_ms": p99,
        "seconds": seconds,
        "cost_usd": cost(moments),
        "cost_static_usd": static_per_hour * seconds / 3600.0,
        "variants_used": {name: count / len(ok) for name, count in used.most_common()},
        "most_instances": max((sum(m.instances.values()) for m in moments), default=0),
    }


def cost(moments: Sequence[Moment]) -> float:
    """USD: what ran, at its price, for as long as it ran."""
    pairs = itertools.pairwise(moments)
    return sum(a.cost_per_hour * (b.at_s - a.at_s) / 3600.0 for a, b in pairs)


def unmet(answers: Sequence[Answer], kinds: Mapping[str, Kind]) -> list[str]:
    """Answers below their accuracy floor or above their cost limit: there must be none."""
    out = []
    for answer in answers:
        if not answer.ok or answer.reply is None:
            continue
        asked = kinds[answer.kind].asked
        if answer.reply.accuracy < asked.get("min_accuracy", 0.0) - 1e-6:
            out.append(f"{answer.reply.query_id}: accuracy {answer.reply.accuracy} below {asked['min_accuracy']}")
        if answer.reply.cost * 1000 > asked.get("max_cost", float("inf")) * (1 + 1e-6):
            out.append(f"{answer.reply.query_id}: {answer.reply.cost * 1000} USD per 1,000 above {asked['max_cost']}")
    return out
