"""Whether what runs once a query is compiled, and if it is not, why."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

FINDER = "infaas_compiled_finder"
"""Of editable installs; it knows why."""


def compiled() -> str:
    """For people."""
    module = find_spec("infaas.router.loop")
    if module is not None and (module.origin or "").endswith(tuple(EXTENSION_SUFFIXES)):
        return "the path of a query is compiled"
    finder = getattr(sys.modules.get(FINDER), "finder", None)
    why_not = getattr(finder, "why_not", "") or "it was not when it was built"
    return f"the path of a query is not compiled ({why_not})"
