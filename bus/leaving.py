"""Closing a consumer in time, whatever its broker does.

The client waits in `close` for every commit that is under way, and it goes on trying those for as long as its broker is away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


def leave(close: Callable[[], None], client_id: str, *, within_s: float) -> None:
    """Closes; what has not come to its end in time goes on by itself, or ends with the process.

    Args:
        close: what is done for it, in a thread of its own.
        client_id: for the log.
        within_s: how long it is waited for.
    """

    def run() -> None:
        try:
            close()
        except Exception:
            log.exception("closing a consumer", extra={"client": client_id})

    closing = threading.Thread(target=run, daemon=True, name=f"{client_id} leaves")
    closing.start()
    closing.join(within_s)
    if closing.is_alive():
        log.warning("a consumer was not closed in time", extra={"client": client_id})
