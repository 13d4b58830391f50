"""Unregistering a variant without losing what is on its way to it.

`retired` → no instance is placed any more, and what waits is returned → every member of the router group has reported a view
past it (a silent one is waited for until the group has dropped it: then its commits are refused) → nothing waits → the topics
are deleted. Model-checked (spec `retire`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from infaas.schemas.reports import RouterReport
from infaas.store.view import View


class Retiring:
    """Remembers since which offset each variant is known to be retired; after a restart it only waits longer."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def update(self, view: View) -> dict[str, int]:
        """Retired variants, with an offset at or past their retirement."""
        retired = {name for name, v in view.variants.items() if v.state == "retired"}
        self._since = {name: self._since.get(name, view.offset) for name in sorted(retired)}
        return self._since


def passed(offset: int, members: AbstractSet[str], reports: Mapping[str, RouterReport]) -> bool:
    """Whether no member of the router group can still send on a view from before `offset`."""
    return all(m in reports and reports[m].view_offset >= offset for m in members)
