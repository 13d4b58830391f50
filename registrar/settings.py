"""Settings of a registrar."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infaas.bus.repository import default_cache

GIB = 1024**3


class RegistrarSettings(BaseSettings):
    """Read once, in the composition root."""

    model_config = SettingsConfigDict(env_prefix="INFAAS_REGISTRAR_", frozen=True, extra="ignore")

    name: str = "registrar"
    """Shown by the broker."""
    repository_url: str = Field(default="", validation_alias="INFAAS_REPOSITORY_URL")
    """Where artifacts are (fsspec URL); empty = the user's data folder."""
    cache_dir: Path = Field(default_factory=default_cache)
    """Where fetched artifacts are kept: a folder of the user's alone."""
    max_artifact_bytes: int = Field(default=2 * GIB, gt=0)
    """Largest model file; ONNX itself ends at 2 GiB without external data."""
    max_validation_bytes: int = Field(default=4 * GIB, gt=0)
    """Largest validation set, unpacked."""
    check_memory_bytes: int = Field(default=8 * GIB, gt=0)
    """Address space of the process that checks a model."""
    check_s: float = Field(default=60.0, gt=0)
    """How long a check may take."""
    reply_topics: str | None = Field(default=None, validation_alias="INFAAS_REPLY_TOPICS")
    """Pattern that a caller's reply topic has to match in full; None = any that is not internal."""
