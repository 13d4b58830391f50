"""Settings of a supervisor."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infaas.bus.repository import default_cache

GIB = 1024**3
PROCESS_BYTES = GIB
"""What an instance has mapped beside its model, used or not (stacks, arenas): measured 165 MB on one core; more cores map more."""


def _hostname() -> str:
    plain = "".join(c if c.isalnum() else "-" for c in socket.gethostname().lower()).strip("-")
    return plain[:50] or "worker"


class WorkerSettings(BaseSettings):
    """What a supervisor has to give; read once, in the composition root."""

    model_config = SettingsConfigDict(env_prefix="INFAAS_WORKER_", frozen=True, extra="ignore")

    name: str = Field(default_factory=_hostname)
    """Its name in the cell: `[a-z0-9][a-z0-9-]{0,59}`."""
    cores: int | None = Field(default=None, ge=1)
    """How many cores it may use; None = all of this machine."""
    first_core: int = Field(default=0, ge=0)
    """Number of the first of them, so that workers on one machine need not share."""
    memory_bytes: int | None = Field(default=None, gt=0)
    """How much memory it may promise; None = four fifths of this machine's."""
    build_bytes: int = Field(default=GIB, gt=0)
    """Memory accounted for a build, whose need nobody knows before it has run; where the worker has less, all it has."""
    build_limit_bytes: int | None = Field(default=None, gt=0)
    """At which a build's process is refused more memory, and so is its generator; None = what the worker may promise in all: above
    that no instance of the variant could ever run here, and the rest of the machine is left to those beside it."""
    memory_factor: float = Field(default=4.0, ge=1)
    """How many times its measured peak an instance may have, beside what every process has that talks to Kafka."""
    machine_type: str = "local"
    """Name of the machine type, for the bill."""
    price_per_hour: float | None = Field(default=None, ge=0)
    """USD; None = the catalogue's price a core."""
    repository_url: str = Field(default="", validation_alias="INFAAS_REPOSITORY_URL")
    """Where artifacts are (fsspec URL); empty = the user's data folder."""
    cache_dir: Path = Field(default_factory=default_cache)
    """Where fetched artifacts are kept: a folder of the user's alone."""

    def core_numbers(self) -> tuple[int, ...]:
        """The cores this supervisor pins its instances to; beyond the machine's they wrap around."""
        numbers = (
            sorted(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else list(range(psutil.cpu_count() or 1))
        )
        count = self.cores or len(numbers)
        return tuple(numbers[(self.first_core + i) % len(numbers)] for i in range(count))

    def instance_limit_bytes(self, peak_memory_bytes: int, platform: str) -> int | None:
        """At which an instance is refused more memory; None = never: drivers of accelerators reserve at will."""
        return int(self.memory_factor * peak_memory_bytes) + PROCESS_BYTES if platform == "cpu" else None

    def build_limit(self) -> int:
        """At which a build is refused more memory, in bytes."""
        return self.build_limit_bytes or self.memory()

    def build_share(self) -> int:
        """Memory that a build is accounted with."""
        return min(self.build_bytes, self.memory())

    def memory(self) -> int:
        """Bytes it may promise."""
        return self.memory_bytes or int(psutil.virtual_memory().total * 0.8)
