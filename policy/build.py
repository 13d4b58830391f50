"""What a build is accounted with: nobody knows its need before it has run. Pure."""

from __future__ import annotations

MOST_BYTES = 1 << 30


def build_bytes(machine_bytes: int) -> int:
    """Memory held for a build; on a small machine half of it, or nothing would ever be built there."""
    return min(MOST_BYTES, machine_bytes // 2)
