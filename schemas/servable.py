"""A variant that can be served: built, measured and not retired. What router and scaler decide about."""

from __future__ import annotations

from dataclasses import dataclass

from infaas.schemas.metadata import SERVABLE, Variant
from infaas.schemas.profile import Profile


@dataclass(frozen=True, slots=True)
class Servable:
    """A variant with its profile."""

    variant: str
    application: str
    profile: Profile
    cost_per_hour: float
    platform: str
    cores: int

    @classmethod
    def of(cls, record: Variant) -> Servable | None:
        """From its record; None if it is not, or no longer, to be served."""
        if record.state not in SERVABLE or record.profile is None:
            return None
        return cls(
            record.variant,
            record.application,
            record.profile,
            record.cost_per_hour or 0.0,
            record.recipe.platform,
            record.recipe.cores,
        )

    @property
    def accuracy(self) -> float:
        """On the validation set."""
        return self.profile.accuracy

    @property
    def memory_bytes(self) -> int:
        """What an instance is accounted with."""
        return self.profile.peak_memory_bytes

    @property
    def load_s(self) -> float:
        """How long one takes to load."""
        return self.profile.load_ms / 1000.0
