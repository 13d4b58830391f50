"""What was measured of a variant: its latency by batch size, and between and beyond what was measured."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field


class BatchPoint(BaseModel):
    """Measured latency of one batch size."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    batch: int = Field(ge=1)
    p50_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    samples: int = 0
    given_rate: float | None = Field(default=None, gt=0)
    """Queries/s, where they are given: an instance that works on several batches at once takes more than its latency says."""

    @property
    def rate(self) -> float:
        """Queries/s of one instance at full use."""
        return self.given_rate or self.batch / self.p50_ms * 1000.0


class PathCost(BaseModel):
    """What an instance takes of a core beside its model, from a record's fetch to its commit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    batch_ms: float = Field(default=0.0, ge=0)
    query_ms: float = Field(default=0.0, ge=0)

    def of(self, batch: int) -> float:
        """ms, of a batch of so many queries."""
        return self.batch_ms + self.query_ms * batch


class Profile(BaseModel):
    """A variant's profile on the hardware it is for (`lat(b)` of INFaaS, measured)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    load_ms: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)
    accuracy: float = Field(ge=0, le=1)
    points: tuple[BatchPoint, ...] = Field(min_length=1)
    """By batch size, ascending."""
    slope: float
    """ms a query, of the least-squares line through the points."""
    intercept: float
    """ms."""
    agreement: float | None = None
    """Share of the validation rows on which it answers as its source does."""
    path: PathCost = PathCost()
    """Beside the model, as measured where it was built; nothing for what was built before that was measured."""
    cost_ratio: float = Field(default=1.0, gt=0)
    """Observed over expected cost of what is answered, model and path together; of live figures, never in a record."""

    @cached_property
    def _batches(self) -> list[int]:
        return [point.batch for point in self.points]

    @cached_property
    def whole(self) -> tuple[BatchPoint, ...]:
        """The points with the instance's own path in them: how long an instance is busy with a batch."""
        more = [(point, self.path.of(point.batch)) for point in self.points]
        return tuple(
            point.model_copy(update={"p50_ms": point.p50_ms + ms, "p99_ms": point.p99_ms + ms}) if ms else point
            for point, ms in more
        )

    @property
    def max_batch(self) -> int:
        """The largest batch measured."""
        return self.points[-1].batch

    def latency_ms(self, batch: int) -> float:
        """Median latency of a batch: measured, between two points interpolated, beyond them by the line."""
        return self._at(batch, tail=False)

    def p99_ms(self, batch: int) -> float:
        """99th percentile of a batch's latency, interpolated likewise."""
        return self._at(batch, tail=True)

    def _at(self, batch: int, *, tail: bool) -> float:
        at = bisect_left(self._batches, batch)
        if at < len(self.points) and self.points[at].batch == batch:
            return self._value(at, tail=tail)
        if at == len(self.points):
            last = self._value(at - 1, tail=tail)
            return last + max(0.0, self.slope) * (batch - self.points[-1].batch)
        if at == 0:
            return self._value(0, tail=tail)
        low, high = self.points[at - 1], self.points[at]
        share = (batch - low.batch) / (high.batch - low.batch)
        return self._value(at - 1, tail=tail) * (1 - share) + self._value(at, tail=tail) * share

    def _value(self, at: int, *, tail: bool) -> float:
        return self.points[at].p99_ms if tail else self.points[at].p50_ms


def fit_line(points: tuple[BatchPoint, ...]) -> tuple[float, float]:
    """Least squares `lat(b) = slope * b + intercept` through the medians.

    One point says nothing of larger batches: then b queries take b times as long, as if they ran one after the other.
    """
    n = len(points)
    mean_b = sum(p.batch for p in points) / n
    mean_l = sum(p.p50_ms for p in points) / n
    spread = sum((p.batch - mean_b) ** 2 for p in points)
    if spread == 0:
        return mean_l / mean_b, 0.0
    slope = sum((p.batch - mean_b) * (p.p50_ms - mean_l) for p in points) / spread
    return slope, mean_l - slope * mean_b
