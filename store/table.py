"""The view of the metadata topic: read to its end, then followed; what a deposed writer wrote is ignored.

Rules (model-checked, spec `store` and `boot`):
- a leader's record at offset o with epoch e is ignored if there is a claim c of that role with e < c < o;
- a worker's record with a boot id older than that of its current `worker/` record is ignored;
- keys whose last record was ignored are remembered (`dirty`): compaction keeps just that record, so the current writer has
  to write its own value again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from infaas.bus.follower import Follower
from infaas.bus.record import Record
from infaas.bus.settings import BusSettings
from infaas.schemas import metadata
from infaas.schemas.errors import InfaasError, OffsetLost
from infaas.schemas.headers import BOOT_ID, EPOCH
from infaas.schemas.metadata import AnyRecord, Leader, Worker
from infaas.schemas.topics import METADATA
from infaas.store.view import View

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the metadata topic, as it was read."""

    offset: int
    key: str
    record: AnyRecord | None
    """None = a tombstone, or a value that can't be read (then it is ignored)."""
    writer: str
    """The epoch or the boot id it was written under; empty = none."""
    ignored: bool


class Table:
    """A read-only view of the metadata topic; one thread calls it.

    Args:
        settings: of the cell.
        client_id: shown by the broker.
        before: called for each record read after `open`, with the view as it was just before that record: by its own record,
            read back, a writer knows whether it came too late.
        before_prefix: limits `before` to keys that start so.
    """

    def __init__(
        self,
        settings: BusSettings,
        *,
        client_id: str,
        before: Callable[[Change, View], None] | None = None,
        before_prefix: str = "",
    ) -> None:
        self._before, self._before_prefix = before, before_prefix
        self._follower = Follower(settings, topic=settings.names.of(METADATA), client_id=client_id)
        self._opened = False
        self._clear()

    def _clear(self) -> None:
        self._kinds: dict[str, dict[str, AnyRecord]] = {}
        self._shared: set[str] = set()  # kinds whose dict a view holds: copied before the next change
        self._offset = 0
        self._catalogue = 0
        self._view: View | None = None
        self.epochs: dict[str, int] = {}
        """Newest claim of each role, by its offset."""
        self.claims: dict[str, int] = {}
        """Offset of each claim read, by nonce."""
        self.dirty: dict[str, set[str]] = {"scaler": set(), "registrar": set()}
        """Keys whose last record was ignored, by role."""

    def open(self, timeout: float = 30.0) -> None:
        """Reads the whole topic up to its end.

        Raises:
            KafkaUnavailable: if that takes longer than `timeout` s.
        """
        self._opened = False
        self._clear()
        for record in self._follower.replay(timeout):
            self._take(record)
        self._offset = max(self._offset, self._follower.position)
        self._opened = True

    def poll(self, timeout: float = 0.0) -> list[Change]:
        """Takes in what is new, waiting at most `timeout` s for the first record; returns what was read.

        After an offset that was lost (deleted meanwhile) the view is rebuilt from zero; then nothing is returned.
        """
        try:
            return [self._take(record) for record in self._follower.poll(timeout)]
        except OffsetLost as error:
            log.warning("metadata view is rebuilt", extra={"error": str(error)})
            self.open()
            return []

    def view(self) -> View:
        """The picture now; the same object until something changes."""
        if self._view is None or self._view.offset != self._offset:
            self._view = View(self._offset, self._catalogue, dict(self._kinds), dict(self.epochs))
            self._shared = set(self._kinds)
        return self._view

    def close(self) -> None:
        """Stops reading."""
        self._follower.close()

    def _take(self, record: Record) -> Change:
        change = self._read(record)
        if self._before is not None and self._opened and change.key.startswith(self._before_prefix):
            self._before(change, self.view())
        self._apply(change)
        return change

    def _read(self, record: Record) -> Change:
        key = (record.key or b"").decode(errors="replace")
        writer = record.header_map.get(EPOCH) or record.header_map.get(BOOT_ID) or b""
        text = writer.decode(errors="replace") if isinstance(writer, bytes) else writer
        if record.tombstone:
            return Change(record.offset, key, None, text, self._is_ignored(key, text))
        try:
            found = metadata.decode(record.value)
        except InfaasError as error:
            log.warning("a metadata record that can't be read", extra={"key": key, "error": str(error)})
            return Change(record.offset, key, None, text, ignored=True)
        return Change(record.offset, key, found, text, self._is_ignored(key, text))

    def _is_ignored(self, key: str, writer: str) -> bool:
        role = metadata.leader_of(key)
        if role is not None:
            return (int(writer) if writer.isdigit() else -1) < self.epochs.get(role, -1)
        worker = metadata.worker_of(key)
        if worker is None:
            return False
        current = self._kinds.get("worker", {}).get(f"worker/{worker}")
        return isinstance(current, Worker) and writer < current.boot_id

    def _apply(self, change: Change) -> None:
        key, record = change.key, change.record
        self._offset = change.offset + 1
        if isinstance(record, Leader):
            self.epochs[record.role] = change.offset
            self.claims[record.nonce] = change.offset
        role = metadata.leader_of(key)
        if role is not None:
            (self.dirty[role].add if change.ignored else self.dirty[role].discard)(key)
        if change.ignored:
            return
        kind = metadata.kind_of(key)
        if kind in self._shared:
            self._kinds[kind] = dict(self._kinds[kind])
            self._shared.discard(kind)
        if record is None:
            self._kinds.get(kind, {}).pop(key, None)
        else:
            self._kinds.setdefault(kind, {})[key] = record
        if kind in ("architecture", "variant"):
            self._catalogue += 1
