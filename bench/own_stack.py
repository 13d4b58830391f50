"""A cell of a benchmark's own: on this machine, in a temporary folder, gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infaas.bus.settings import BusSettings
from infaas.cli.console import progress
from infaas.cli.stack import Shape, Stack


@contextmanager
def own_stack(shape: Shape) -> Iterator[Stack]:
    """Starts it, tells of its progress, and stops it."""
    with tempfile.TemporaryDirectory(prefix="infaas-bench-") as name:
        folder = Path(name)
        stack = Stack(
            data_dir=folder,
            shape=shape,
            settings=BusSettings(),
            repository_url=(folder / "repository").as_uri(),
            progress=progress,
            extra={"INFAAS_WORKER_CACHE_DIR": str(folder / "cache")},
        )
        with stack:
            yield stack
