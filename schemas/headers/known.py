"""Names of headers as a caller may spell them, and what a name that nobody knows was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import lru_cache

from infaas.schemas.headers.names import CALLER_NAMES, PREFIX, PROTOCOL_NAMES, SYSTEM_NAMES

NAME_LIMIT_BYTES = 256
NEAR = 0.8
_KNOWN = CALLER_NAMES | PROTOCOL_NAMES | SYSTEM_NAMES
_FOLDED = {name.lower(): name for name in _KNOWN}


def canonical(name: str) -> str:
    """The name that is read, for any case form of it; what is not known stays as it is, ours in lower case."""
    return name if name in _KNOWN or len(name) > NAME_LIMIT_BYTES else _fold(name)


@lru_cache(maxsize=4096)
def _fold(name: str) -> str:
    folded = name.lower()
    if folded.startswith((PREFIX, "infaas_")):
        folded = folded.replace("_", "-")
        return _FOLDED.get(folded, folded)
    return _FOLDED.get(folded, name)


@lru_cache(maxsize=4096)
def nearest(name: str, known: Collection[str], cutoff: float = 0.0) -> str | None:
    """The known name that is most like this one; None if none is like it by `cutoff` (0 to 1)."""
    return next(iter(difflib.get_close_matches(name, sorted(known), 1, cutoff)), None)
