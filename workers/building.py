"""One build on this worker: a child that makes, checks and measures a variant; what it finds is written point by point."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import assert_never

from infaas.host.backoff import Backoff
from infaas.host.child import Child
from infaas.host.deadlines import BUILD_SILENCE_S
from infaas.host.endings import ending
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
from infaas.workers.heard import Heard

log = logging.getLogger(__name__)
MODULE = "infaas.registrar.build"
TRIES = 2
AGAIN_S, AGAIN_MAX_S = 1.0, 30.0
"""Between attempts of a build that waits: each makes the variant from its beginning."""


class Building:
    """Runs one build to its end.

    Args:
        variant: what to make.
        worker: our name.
        cores: reserved for it.
        memory_bytes: what it is accounted with.
        launch: starts the build's process.
        write: writes a fact.
        now: monotonic seconds.
    """

    def __init__(
        self,
        *,
        variant: Variant,
        worker: str,
        cores: tuple[int, ...],
        memory_bytes: int,
        launch: Callable[[], Child],
        write: Callable[[Record], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.variant, self.cores, self.memory_bytes = variant, cores, memory_bytes
        self._now = now
        self._worker, self._launch, self._write = worker, launch, write
        self._tries = 1
        self._pause, self._room = Backoff(), Backoff(AGAIN_S, AGAIN_MAX_S)
        self._waits, self._told = False, ""
        self.child: Child | None = None
        self.done = False
        self._begin()

    def step(self) -> None:
        """Hears the child; a build that dies is tried once more, then it has failed.

        One that gives up for a reason outside of it (a full disk) says so, and is tried again after a pause, until it can.
        """
        if self.child is None:
            now_s = self._now()
            if not self.done and self._pause.over(now_s) and self._room.over(now_s):
                self._begin()
            return
        child = self.child
        for message in child.heard():
            self._hear(message)
        status = child.status()
        self._heard.look(self._now())
        why = None if status is None else f"it {ending(status)}"
        if status is None and (why := self._heard.stuck(self._now(), BUILD_SILENCE_S)):
            child.kill()
        if why is None:
            return
        for message in child.heard():
            self._hear(message)
        child.reap()
        self.child = None
        if self.done or self._waits:
            return
        if self._tries < TRIES:
            self._tries += 1
            self._begin()
            return
        self._fail(f"the build was given up after {self._tries} times: {why}")

    def end(self) -> None:
        """Ends the child now; nothing is written."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def fail(self, why: str) -> None:
        """Ends the child now: the build has failed."""
        self.end()
        self._fail(why)

    def _begin(self) -> None:
        now_s = self._now()
        self._heard, self._waits = Heard(heard_s=now_s, looked_s=now_s), False
        try:
            self.child = self._launch()
        except Exception:
            self._pause.fail(now_s)
            log.exception("a build can't be started", extra={"variant": self.variant.variant})

    def _hear(self, message: FromChild) -> None:
        self._heard.heard_s = self._now()
        match message:
            case Measured():
                self._write(ProfilePoint(variant=self.variant.variant, worker=self._worker, point=message.point))
            case Finished():
                self._end(message.built)
            case Failed():
                if message.retryable:
                    self._wait(message.reason)
                else:
                    self._fail(message.reason)
            case Alive():
                pass
            case Ready() | BatchBegan() | BatchEnded() | Stats() | Taken() | Released() | Refused() | Stopped():
                log.warning("a build spoke as an instance", extra={"said": message.said})
            case _ as never:
                assert_never(never)

    def _wait(self, reason: str) -> None:
        self._waits = True
        self._room.fail(self._now())
        if reason == self._told:
            return
        self._told = reason
        log.warning("a build waits", extra={"variant": self.variant.variant, "reason": reason})
        self._write(Built(variant=self.variant.variant, worker=self._worker, outcome="waiting", reason=reason))

    def _fail(self, reason: str) -> None:
        self._end(Built(variant=self.variant.variant, worker=self._worker, outcome="failed", reason=reason))

    def _end(self, built: Built) -> None:
        self.done = True
        self._write(built)
