"""What a key says of its record: whose claim or boot id decides whether it counts."""

from __future__ import annotations

from infaas.schemas.metadata.record import Role

SCALER_KINDS = frozenset({"machine", "placement", "assignment", "verdict"})
REGISTRAR_KINDS = frozenset({"architecture", "variant"})
WORKER_KINDS = frozenset({"worker", "instance", "built", "profile"})


def kind_of(key: str) -> str:
    """The part of a key before the first slash."""
    return key.partition("/")[0]


def leader_of(key: str) -> Role | None:
    """Whose claim decides whether a record under this key counts; None for a worker's and for claims."""
    kind = kind_of(key)
    return "scaler" if kind in SCALER_KINDS else "registrar" if kind in REGISTRAR_KINDS else None


def worker_of(key: str) -> str | None:
    """The worker whose boot id decides whether a record under this key counts; None for other keys.

    `built/` and `profile/` hold measurements, true whatever became of the worker: they have no such worker.
    """
    parts = key.split("/")
    return parts[1] if parts[0] in ("worker", "instance") and len(parts) > 1 else None
