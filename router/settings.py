"""Settings of a router."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RouterSettings(BaseSettings):
    """Read once, in the composition root."""

    model_config = SettingsConfigDict(env_prefix="INFAAS_ROUTER_", frozen=True, extra="ignore")

    name: str = "router"
    """Shown in reports and by the broker."""
    reply_topics: str | None = Field(default=None, validation_alias="INFAAS_REPLY_TOPICS")
    """Pattern that a caller's reply topic has to match in full; None = any that is not internal."""
    sample: float = Field(default=0.01, ge=0, le=1)
    """Share of the dispatches that leave a decision record."""
