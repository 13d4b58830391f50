"""What the scaler decided, for people: on `decisions` and in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.scaler.greedy import Target
from infaas.scaler.snapshot import Snapshot
from infaas.schemas import decisions
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.topics import DECISIONS
from infaas.store.view import View

log = logging.getLogger(__name__)


class Journal:
    """Writes decision records."""

    def __init__(self, outbox: Outbox, settings: BusSettings) -> None:
        self._outbox, self._topic = outbox, settings.names.of(DECISIONS)

    def write(self, about: str, decision: str, reason: str, view: View, **inputs: object) -> None:
        """One decision, with what it was made from."""
        log.info("decided", extra={"about": about, "decision": decision, "reason": reason, **inputs})
        record = DecisionRecord(
            by="scaler",
            about=about,
            decision=decision,
            reason=reason,
            inputs=dict(inputs),
            view_offset=view.offset,
            at_ms=int(self._outbox.clock.now_ms()),
        )
        self._outbox.send(self._topic, key=about, value=decisions.encode(record))

    def moves(self, view: View, before: Snapshot, target: Target, after: Mapping[tuple[str, str], int]) -> None:
        """What changes of the fleet, a record a variant."""
        for variant in sorted({v for _, v in {**before.placed, **after}}):
            was = {w: n for (w, v), n in before.placed.items() if v == variant and n}
            now = {w: n for (w, v), n in after.items() if v == variant and n}
            if was != now:
                reason = target.reasons.get(variant, "another takes its place")
                name = _name(sum(was.values()), sum(now.values()))
                self.write(variant, name, reason, view, before=was, after=now, headroom=target.headroom)


def _name(before: int, after: int) -> str:
    if before == after:
        return "Move"
    if after > before:
        return "Replicate" if before else "Load"
    return "Downsize" if after else "Unload"
