"""What an engine is, and how one is found by its name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from infaas.schemas.errors import MissingDependency
from infaas.schemas.oip import Array

GROUP = "infaas.engines"


class Engine(Protocol):
    """Runs one artifact in this process."""

    def load(self, path: Path, *, platform: str, cores: int) -> None:
        """Loads an artifact for a platform with this many cores.

        Raises:
            MissingDependency: a library or a device is not there; never a silent fall-back to the CPU.
            BadModel: the artifact can't be loaded.
        """

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs one batch: arrays by input name, `[rows, ...]` each; returns outputs likewise.

        Raises:
            InferenceFailed: the engine refused this batch.
        """

    def close(self) -> None:
        """Gives memory and devices back."""


def engine(name: str) -> Engine:
    """A new engine by the name of its entry point in `infaas.engines`; nothing is imported for the others.

    Raises:
        MissingDependency: if there is none of this name.
    """
    points = entry_points(group=GROUP, name=name)
    if not points:
        known = ", ".join(sorted(point.name for point in entry_points(group=GROUP)))
        raise MissingDependency(f"no engine {name!r}; installed are: {known}")
    made: Engine = next(iter(points)).load()()
    return made
