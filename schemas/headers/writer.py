"""Who wrote a metadata record, in a header, so that a tombstone carries it too."""

from __future__ import annotations

from infaas.schemas.headers.names import BOOT_ID, EPOCH
from infaas.schemas.headers.values import HeaderList


def epoch_headers(epoch: int) -> HeaderList:
    """The writer's epoch, on every metadata record of a leader: in a header, so that a tombstone carries it too."""
    return [(EPOCH, str(epoch).encode())]


def boot_headers(boot_id: str) -> HeaderList:
    """The writer's boot id, on every metadata record of a worker."""
    return [(BOOT_ID, boot_id.encode())]
