"""Which instances died, as their facts in the metadata tell."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from infaas.bench.history import Entry
from infaas.schemas.metadata import SERVING


def instance_deaths(metadata: Iterable[Entry]) -> int:
    """How often an instance that served, or was to, went back to its start or failed."""
    states: dict[tuple[bytes, str], str] = {}
    deaths = 0
    for entry in metadata:
        if not (entry.key or b"").startswith(b"instance/") or not entry.value:
            continue
        fact = orjson.loads(entry.value)
        place, state = (entry.key or b"", str(fact["boot_id"])), str(fact["state"])
        before = states.get(place, "")
        deaths += (state == "starting" and before in SERVING) or (state == "failed" and before != "failed")
        states[place] = state
    return deaths
