"""What the records of the metadata topic amount to, one after the other; pure, so that nothing but records decides.

Rules (model-checked, spec `store` and `boot`):
- a leader's record at offset o with epoch e is ignored if there is a claim c of that role with e < c < o;
- a worker's record with a boot id older than that of its current `worker/` record is ignored; what is no boot id is older than any;
- keys whose last record was ignored are remembered (`dirty`): compaction keeps just that record, so the current writer has
  to write its own value again.
A record that can't be read, or that stands under another key than its own, is ignored whoever wrote it: it comes to every
reader at every start, so nothing in it may stop one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from infaas.bus.record import Record
from infaas.schemas import metadata
from infaas.schemas.errors import BadInput
from infaas.schemas.headers import BOOT_ID, EPOCH
from infaas.schemas.metadata import AnyRecord, Leader, Verdict, Worker
from infaas.store.boot import boot_order, is_boot_id
from infaas.store.view import View

log = logging.getLogger(__name__)
OFFSET = re.compile(r"[0-9]{1,19}")


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


class Picture:
    """Takes in records in their order: `read` one, then `apply` the change.

    Args:
        catalogue_version: to count on from, so that no version means two catalogues.
        boots: highest boot ids read before, which count on.
    """

    def __init__(self, *, catalogue_version: int = 0, boots: Mapping[str, str] | None = None) -> None:
        self.offset = 0
        """Everything below it is taken in."""
        self.catalogue_version = catalogue_version
        self.epochs: dict[str, int] = {}
        """Newest claim of each role, by its offset."""
        self.claims: dict[str, int] = {}
        """Offset of each claim read, by nonce."""
        self.dirty: dict[str, set[str]] = {"scaler": set(), "registrar": set()}
        """Keys whose last record was ignored, by role."""
        self.boots: dict[str, str] = dict(boots or {})
        """Highest boot id read so far, by worker, void ones included."""
        self._kinds: dict[str, dict[str, AnyRecord]] = {}
        self._shared: set[str] = set()  # kinds whose dict a view holds: copied before the next change
        self._view: View | None = None

    def view(self) -> View:
        """The picture now; the same object until something changes."""
        if self._view is None or self._view.offset != self.offset:
            derived = {} if self._view is None else self._view.derived
            self._view = View(self.offset, self.catalogue_version, dict(self._kinds), dict(self.epochs), derived)
            self._shared = set(self._kinds)
        return self._view

    def read(self, record: Record) -> Change:
        """What a record says, and whether it counts; nothing in a record makes this raise."""
        key = (record.key or b"").decode(errors="replace")
        try:
            return self._read(key, record)
        except Exception as error:  # noqa: BLE001 - whatever is in it, every reader has to get past it
            log.warning("a metadata record that can't be read", extra={"key": key[:200], "error": str(error)[:500]})
            return Change(record.offset, key, None, "", ignored=True)

    def apply(self, change: Change) -> None:
        """Takes in a change that was read."""
        key, record = change.key, change.record
        self.offset = change.offset + 1
        self._note_boots(change)
        role = metadata.leader_of(key)
        if role is not None:
            (self.dirty[role].add if change.ignored else self.dirty[role].discard)(key)
        if change.ignored:
            return
        if isinstance(record, Leader):
            self.epochs[record.role] = change.offset
            self.claims[record.nonce] = change.offset
        kind = metadata.kind_of(key)
        if kind in self._shared:
            self._kinds[kind] = dict(self._kinds[kind])
            self._shared.discard(kind)
        if record is None:
            self._kinds.get(kind, {}).pop(key, None)
        else:
            self._kinds.setdefault(kind, {})[key] = record
        if kind in ("architecture", "variant"):
            self.catalogue_version += 1

    def _note_boots(self, change: Change) -> None:
        if isinstance(change.record, Verdict):
            self._note_boot(change.record.worker, change.record.boot_id)
        worker = metadata.worker_of(change.key)
        if worker is not None:
            self._note_boot(worker, change.writer)

    def _note_boot(self, worker: str, boot_id: str) -> None:
        """Keeps the highest: string order is the order of boot ids. What is none, whoever wrote it, must not hide one."""
        if not is_boot_id(boot_id):
            return
        self.boots[worker] = max(self.boots.get(worker, ""), boot_id)

    def _read(self, key: str, record: Record) -> Change:
        header = record.header_map.get(EPOCH) or record.header_map.get(BOOT_ID) or b""
        writer = header.decode(errors="replace") if isinstance(header, bytes) else header
        content = None
        if not record.tombstone:
            content = metadata.decode(record.value)
            if content.key != key:
                raise BadInput("key", f"the record's own key, {content.key}", key)
        return Change(record.offset, key, content, writer, self._is_ignored(key, writer))

    def _is_ignored(self, key: str, writer: str) -> bool:
        role = metadata.leader_of(key)
        if role is not None:
            return (int(writer) if OFFSET.fullmatch(writer) else -1) < self.epochs.get(role, -1)
        worker = metadata.worker_of(key)
        if worker is None:
            return False
        current = self._kinds.get("worker", {}).get(f"worker/{worker}")
        return isinstance(current, Worker) and boot_order(writer) < boot_order(current.boot_id)
