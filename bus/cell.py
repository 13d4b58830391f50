"""Which cell is meant where nobody says: INFAAS_BOOTSTRAP_SERVERS, else the embedded broker of the user's data folder.

The `infaas` command and `Client()` ask here, so that both find the same one.
"""

from __future__ import annotations

import os
from pathlib import Path

from infaas.bus.embedded.state import BrokerState
from infaas.bus.settings import BusSettings

SERVERS = "INFAAS_BOOTSTRAP_SERVERS"
DATA_DIR = "INFAAS_DATA_DIR"
EMBEDDED_SESSION_MS = 1000  # the embedded broker allows it; a stock one refuses less than 6 s


def default_data_dir() -> Path:
    """INFAAS_DATA_DIR, else a folder of the user's."""
    given = os.environ.get(DATA_DIR)
    if given:
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "infaas"


def find_cell(data_dir: Path | None = None) -> BusSettings:
    """Settings for the cell that runs here, or the one the environment names."""
    settings = BusSettings()
    if os.environ.get(SERVERS):
        return settings
    state = BrokerState.read((data_dir or default_data_dir()) / "kafka")
    if state is None:
        return settings
    embedded = {"bootstrap_servers": state.bootstrap_servers, "session_timeout_ms": EMBEDDED_SESSION_MS}
    return settings.model_copy(update=embedded)
