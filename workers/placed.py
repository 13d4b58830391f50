"""What is placed on one worker, kept as the metadata changes: each change is looked at once, and nothing else is.

A supervisor acts on what has changed since it last asked; what stays as it is costs it nothing, however much of it there is.
"""

from __future__ import annotations

from collections.abc import Iterable

from infaas.schemas.metadata import Placement, Variant
from infaas.store.table import Change
from infaas.store.view import View


class Placed:
    """Placements of one worker, with the variants they are of.

    Args:
        worker: its name.
    """

    def __init__(self, worker: str) -> None:
        self._worker, self._prefix = worker, f"placement/{worker}/"
        self._placements: dict[str, Placement] = {}
        self._changed: set[str] = set()

    def notice(self, change: Change) -> None:
        """Takes in one change."""
        if change.ignored:
            return
        if change.key.startswith(self._prefix):
            self._set(change.key.removeprefix(self._prefix), change.record)
            return
        kind, _, name = change.key.partition("/")
        if kind in ("variant", "built") and name in self._placements:
            self._changed.add(name)

    def read(self, view: View) -> None:
        """Takes in the whole, as after the view was made anew; all of it counts as changed."""
        records = {r.variant: r for r in view.placements.values() if r.worker == self._worker}
        self._changed.update(self._placements, records)
        self._placements = records

    def take_changed(self) -> Iterable[str]:
        """Variants of which something has changed since this was last called, in a fixed order."""
        changed, self._changed = self._changed, set()
        return sorted(changed)

    def reconsider(self, variant: str) -> None:
        """Something of it has changed elsewhere."""
        self._changed.add(variant)

    def instances(self, variant: Variant | None) -> range:
        """Numbers of the instances that should run."""
        placement = None if variant is None else self._placements.get(variant.variant)
        if placement is None or variant is None or variant.profile is None or variant.artifact_digest is None:
            return range(0)
        return range(placement.instances)

    def builds(self, variant: Variant | None) -> bool:
        """Whether it should be built."""
        placement = None if variant is None else self._placements.get(variant.variant)
        return placement is not None and placement.build

    def _set(self, variant: str, record: object) -> None:
        self._changed.add(variant)
        if isinstance(record, Placement):
            self._placements[variant] = record
        else:
            self._placements.pop(variant, None)
