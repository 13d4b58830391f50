"""A query's headers as they are understood: nothing that is meant is ignored, nothing that is the system's is believed.

Names in any case form are read; null and empty mean absent; travel and reply headers are dropped unread, since a stream may
forward all it got; any other unknown name under our prefix is refused, naming the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from infaas.schemas.errors import BadHeader
from infaas.schemas.headers.known import NAME_LIMIT_BYTES, canonical, nearest
from infaas.schemas.headers.names import CALLER_NAMES, PREFIX, PROTOCOL_NAMES, SYSTEM_NAMES
from infaas.schemas.headers.values import TEXT_LIMIT_BYTES, HeaderMap, Headers

TOTAL_LIMIT_BYTES = 48 * 1024
"""Of all names and values: headers are added on the way, and the topics after `queries` take 64 KiB more than it does."""


@dataclass(frozen=True, slots=True)
class CallerHeaders:
    """What a caller said, and the first thing that can't be taken as it stands."""

    found: HeaderMap = field(default_factory=dict)
    """By the name that is read; of a name that comes twice the last counts."""
    trouble: BadHeader | None = None

    @classmethod
    def of(cls, headers: Headers) -> CallerHeaders:
        """Reads them; what is wrong is told, not raised, so that the reply address is known all the same."""
        by_name: dict[str, bytes | str | None] = {}
        trouble: BadHeader | None = None
        total = 0
        for name, value in headers:
            total += len(name) + len(value or b"")
            known = canonical(name)
            if known in SYSTEM_NAMES:
                continue
            wrong = _wrong(name, known, value)
            if wrong is not None:
                trouble = trouble or wrong
            elif value:
                by_name[known] = value
            else:
                by_name.pop(known, None)
        if total > TOTAL_LIMIT_BYTES:
            trouble = BadHeader("headers", f"at most {TOTAL_LIMIT_BYTES} bytes in all", f"{total} bytes")
        return cls(by_name, trouble)


def _wrong(name: str, known: str, value: bytes | str | None) -> BadHeader | None:
    if len(name) > NAME_LIMIT_BYTES:
        return BadHeader(name[:40] + "...", f"a name of at most {NAME_LIMIT_BYTES} bytes", f"{len(name)} bytes")
    if known.startswith(PREFIX) and known not in CALLER_NAMES:
        return BadHeader(name, f"a header that is known; the nearest is {nearest(known, CALLER_NAMES)}")
    if value and len(value) > TEXT_LIMIT_BYTES and (known in CALLER_NAMES or known in PROTOCOL_NAMES):
        return BadHeader(name, f"at most {TEXT_LIMIT_BYTES} bytes", f"{len(value)} bytes")
    return None
