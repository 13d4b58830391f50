"""What an instance's process takes of a core for what it answers, over what profile and path say it should: live figures correct those.

It is processor time: that others wait on the same core makes an instance slow, which `monitor` sees, and not expensive. Of a
variant on several cores or an accelerator it says nothing: how busy its engine keeps them is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from infaas.policy.capacity import capacity
from infaas.schemas.metadata import Variant
from infaas.schemas.profile import Profile
from infaas.schemas.reports import Counters

SMOOTH = 0.2
BUSY = 0.3
"""Of a core. Who is mostly idle spends it on looking for work, which is no query's."""
LEAST, MOST = 0.5, 50.0


@dataclass(frozen=True, slots=True)
class Spending:
    """As of the last slot; `slot` gives the next."""

    profile: Profile
    measurable: bool
    at_s: float
    """Monotonic."""
    counters: Counters
    cpu_s: float = 0.0
    """Of the process, in all."""
    ratio: float = 1.0

    @classmethod
    def of(cls, variant: Variant, profile: Profile, now_s: float) -> Spending:
        """A process that has just been started."""
        measurable = variant.recipe.platform == "cpu" and variant.recipe.cores == 1
        return cls(profile, measurable, now_s, Counters())

    def slot(self, now_s: float, cpu_s: float, counters: Counters) -> Spending:
        """Takes in one slot of time.

        Args:
            now_s: monotonic.
            cpu_s: of the process, in all.
            counters: likewise.
        """
        spent_s, expected_ms = cpu_s - self.cpu_s, expected(self.counters, counters, self.profile)
        ratio = self.ratio
        if self.measurable and spent_s >= BUSY * (now_s - self.at_s) and expected_ms > 0:
            ratio += SMOOTH * (min(MOST, max(LEAST, spent_s * 1000.0 / expected_ms)) - ratio)
        return replace(self, at_s=now_s, counters=counters, cpu_s=cpu_s, ratio=ratio)

    @property
    def capacity_per_s(self) -> float:
        """Queries/s at full use, as observed."""
        return capacity(self.profile, None) / self.ratio

    def path_ms(self, queries: int) -> float:
        """Of a batch, as observed."""
        return self.profile.path.of(queries) * self.ratio


def expected(before: Counters, after: Counters, profile: Profile) -> float:
    """What the queries between two counts should have taken, ms."""
    batches = after.batches - before.batches
    queries = _ended(after) - _ended(before)
    rows = (after.batch_size_sum - before.batch_size_sum) / batches if batches else 0.0
    model_ms = profile.latency_ms(max(1, round(rows))) * batches
    return model_ms + profile.path.batch_ms * batches + profile.path.query_ms * queries


def _ended(counters: Counters) -> int:
    return counters.answered + counters.expired + counters.failed
