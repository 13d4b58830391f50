"""Settings of a scaler."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ScalerSettings(BaseSettings):
    """Read once, in the composition root."""

    model_config = SettingsConfigDict(env_prefix="INFAAS_SCALER_", frozen=True, extra="ignore")

    name: str = "scaler"
    """Shown by the broker."""
    policy: Literal["greedy", "optimum"] = "greedy"
    """How a fleet is chosen: INFaaS's heuristic, or the integer program (slower, never more expensive)."""
    idle_s: float = Field(default=30.0, ge=0)
    """How long the last instance of a variant without demand stays."""
    builds: int = Field(default=0, ge=0)
    """Builds at once in the cell; 0 = as many as find room. 1 where workers share cores, so that measuring is not disturbed."""
    silence_s: float = Field(default=3.0, gt=0.5)
    """A worker that reports nothing for so long is pronounced dead."""
    provisioner: Literal["none", "local"] = "none"
    """Who starts machines: nobody, or this machine as worker processes."""
    max_machines: int = Field(default=1, ge=0)
    """Machines the provisioner may run at once."""
    machine_cores: int = Field(default=2, ge=1)
    """Cores of a machine of the local provisioner."""
    machine_memory_bytes: int | None = Field(default=None, gt=0)
    """Memory of one; None = what the worker finds."""
    usage_every_s: float = Field(default=10.0, gt=0)
    """How often machine-seconds are written to `usage`."""
