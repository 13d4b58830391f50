"""One build on this worker: a child that makes, checks and measures a variant; what it finds is written point by point."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import assert_never

from infaas.host.child import Child
from infaas.host.messages import (
    Alive,
    BatchBegan,
    BatchEnded,
    Failed,
    Finished,
    FromChild,
    Measured,
    Ready,
    Refused,
    Released,
    Stats,
    Stopped,
    Taken,
)
from infaas.schemas.metadata import Built, ProfilePoint, Record, Variant

log = logging.getLogger(__name__)
MODULE = "infaas.registrar.build"
MEMORY_BYTES = 1 << 30
"""Accounted for a build, whose need nobody knows before it has run."""
TRIES = 2


class Building:
    """Runs one build to its end.

    Args:
        variant: what to make.
        worker: our name.
        launch: starts the build's process.
        write: writes a fact.
    """

    def __init__(
        self,
        *,
        variant: Variant,
        worker: str,
        cores: tuple[int, ...],
        launch: Callable[[], Child],
        write: Callable[[Record], None],
    ) -> None:
        self.variant, self.cores, self.memory_bytes = variant, cores, MEMORY_BYTES
        self._worker, self._launch, self._write = worker, launch, write
        self._tries = 1
        self.child: Child | None = launch()
        self.done = False

    def step(self) -> None:
        """Hears the child; a build that dies is tried once more, then it has failed."""
        if self.child is None:
            return
        for message in self.child.heard():
            self._hear(message)
        status = self.child.status()
        if status is None:
            return
        for message in self.child.heard():
            self._hear(message)
        self.child.reap()
        self.child = None
        if self.done:
            return
        if self._tries < TRIES:
            self._tries += 1
            self.child = self._launch()
            return
        self._fail(f"the build ended with status {status}, {self._tries} times")

    def end(self) -> None:
        """Ends the child now; nothing is written."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def _hear(self, message: FromChild) -> None:
        match message:
            case Measured():
                self._write(ProfilePoint(variant=self.variant.variant, worker=self._worker, point=message.point))
            case Finished():
                self._end(message.built)
            case Failed():
                self._fail(message.reason)
            case Alive():
                pass
            case Ready() | BatchBegan() | BatchEnded() | Stats() | Taken() | Released() | Refused() | Stopped():
                log.warning("a build spoke as an instance", extra={"said": message.said})
            case _ as never:
                assert_never(never)

    def _fail(self, reason: str) -> None:
        self._end(Built(variant=self.variant.variant, worker=self._worker, outcome="failed", reason=reason))

    def _end(self, built: Built) -> None:
        self.done = True
        self._write(built)
