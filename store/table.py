"""The view of the metadata topic: read to its end, then followed, and read again from zero when it may have missed something.

Missed is what was deleted before it was read: an offset that is gone, or tombstones, which compaction removes after
`delete.retention.ms`. So the table knows at which moment it last had everything; from a moment too long ago, as after a long
outage or a machine's sleep, it does not go on. While a new picture can't be read, the old one stands.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infaas.bus.clock import elapsed_s
from infaas.bus.follower import Follower
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas.errors import InfaasError, OffsetLost
from infaas.schemas.topics import METADATA
from infaas.store.picture import Change, Picture
from infaas.store.view import View

__all__ = ["Change", "Table"]

log = logging.getLogger(__name__)
DAY_S = 86_400.0
STALE_S = int(METADATA.config["delete.retention.ms"]) / 1000.0 - DAY_S  # a day for what is not measured
LOOK_EVERY_S = 3600.0
LOOK_AGAIN_S = 60.0
LOOK_TIMEOUT_S = 1.0
REBUILD_TIMEOUT_S = 10.0
REBUILD_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Look:
    """Where the topic ended at some moment: once that is read, everything up to that moment is."""

    end: int
    at_s: float


class Table:
    """A read-only view of the metadata topic; one thread calls it.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        before: called for each record read after `open`, with the view as it was just before that record: by its own record,
            read back, a writer knows whether it came too late.
        before_prefix: limits `before` to keys that start so.
        clock: seconds that pass while a machine sleeps, too.
    """

    def __init__(
        self,
        settings: BusSettings,
        *,
        client_id: str,
        before: Callable[[Change, View], None] | None = None,
        before_prefix: str = "",
        clock: Callable[[], float] = elapsed_s,
    ) -> None:
        self._before, self._before_prefix, self._clock = before, before_prefix, clock
        self._follower = Follower(settings, topic=settings.names.of(METADATA), client_id=client_id)
        self._picture = Picture()
        self._look: _Look | None = None
        self._complete_s = self._next_look_s = clock()
        self._rebuild_s: float | None = None
        self.readings = 0
        """How often the whole was read: what a reader keeps of the changes since is then void."""

    @property
    def epochs(self) -> Mapping[str, int]:
        """Newest claim of each role, by its offset."""
        return self._picture.epochs

    @property
    def claims(self) -> Mapping[str, int]:
        """Offset of each claim read, by nonce."""
        return self._picture.claims

    @property
    def dirty(self) -> Mapping[str, set[str]]:
        """Keys whose last record was ignored, by role."""
        return self._picture.dirty

    @property
    def boots(self) -> Mapping[str, str]:
        """Highest boot id read so far, by worker, void ones included."""
        return self._picture.boots

    def open(self, timeout: float = 30.0) -> None:
        """Reads the whole topic up to its end; the view changes when that is done.

        Raises:
            KafkaUnavailable: if that takes longer than `timeout` s.
        """
        now = self._clock()
        picture = Picture(catalogue_version=self._picture.catalogue_version + 1, boots=self._picture.boots)
        for record in self._follower.replay(timeout):
            picture.apply(picture.read(record))
        picture.offset = max(picture.offset, self._follower.position)
        self._picture, self._rebuild_s, self._look = picture, None, None
        self.readings += 1
        self._complete_s, self._next_look_s = now, now + LOOK_EVERY_S

    def poll(self, timeout: float = 0.0) -> list[Change]:
        """Takes in what is new, waiting at most `timeout` s for the first record; returns what was read.

        When something may have been missed the view is rebuilt from zero; then nothing is returned.
        """
        now = self._clock()
        if self._rebuild_s is None and now - self._complete_s > STALE_S:
            self._must_rebuild(now, f"{now - self._complete_s:.0f} s since everything was read")
        if self._rebuild_s is None:
            try:
                changes = [self._take(record) for record in self._follower.poll(timeout)]
            except OffsetLost as error:
                self._must_rebuild(now, str(error))
            else:
                self._notice(now)
                return changes
        self._rebuild(now, timeout)
        return []

    def view(self) -> View:
        """The picture now; the same object until something changes."""
        return self._picture.view()

    def close(self) -> None:
        """Stops reading."""
        self._follower.close()

    def _take(self, record: Record) -> Change:
        change = self._picture.read(record)
        if self._before is not None and change.key.startswith(self._before_prefix):
            self._before(change, self.view())
        self._picture.apply(change)
        return change

    def _must_rebuild(self, now: float, why: str) -> None:
        log.warning("metadata view is rebuilt", extra={"why": why})
        self._rebuild_s = now

    def _rebuild(self, now: float, timeout: float) -> None:
        if self._rebuild_s is None or now < self._rebuild_s:
            time.sleep(min(timeout, REBUILD_AGAIN_S))
            return
        try:
            self.open(REBUILD_TIMEOUT_S)
        except InfaasError as error:
            if not error.retryable:
                raise
            log.warning("metadata view can't be rebuilt yet", extra={"error": str(error)})
            self._rebuild_s = self._clock() + REBUILD_AGAIN_S

    def _notice(self, now: float) -> None:
        """Finds out, each hour, up to which moment everything is read."""
        if self._look is not None and max(self._picture.offset, self._follower.position) >= self._look.end:
            self._complete_s, self._look = self._look.at_s, None
        if now < self._next_look_s:
            return
        try:
            self._look = _Look(self._follower.end(LOOK_TIMEOUT_S), now)
        except InfaasError as error:
            if not error.retryable:
                raise
            self._next_look_s = now + LOOK_AGAIN_S
            log.info("the end of the metadata topic is not known", extra={"error": str(error)})
        else:
            self._next_look_s = now + LOOK_EVERY_S
