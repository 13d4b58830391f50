"""Editable installs: takes the compiled modules, as long as they are those of the files that stand there now.

They call each other directly, so that it is all of them or none. What is edited, and what is switched to another branch, is run as
Python until it is compiled again (`make compile`); `infaas doctor` says which it is. INFAAS_COMPILED=0 says that they are not wanted.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

finder: Finder | None = None
"""The one that is installed."""


class Finder(MetaPathFinder):
    """Finds compiled modules.

    Args:
        folder: where they are, beside the package `infaas` of links to the sources.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._libraries: dict[str, str] | None = None
        self.why_not = ""
        """Why they are not used."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the interface
        target: ModuleType | None = None,  # noqa: ARG002 - the interface
    ) -> ModuleSpec | None:
        """A compiled module, if all of them are good."""
        if not fullname.startswith("infaas"):
            return None
        if self._libraries is None:
            self._libraries = self._look()
        library = self._libraries.get(fullname)
        return None if library is None else importlib.util.spec_from_file_location(fullname, self._folder / library)

    def off(self) -> None:
        """From now on none is found: for who puts something else in place of a class, which compiled code does not take."""
        self._libraries, self.why_not = {}, "not wanted"

    def _look(self) -> dict[str, str]:
        if os.environ.get("INFAAS_COMPILED") == "0":
            self.why_not = "INFAAS_COMPILED=0"
            return {}
        try:
            made = json.loads((self._folder / "sources.json").read_bytes())
        except OSError:
            why_not = self._folder / "why_not"
            self.why_not = why_not.read_text() if why_not.exists() else "it is not there: make compile"
            return {}
        changed = _changed(self._folder.parent, made["sources"])
        if made["python"] != sys.implementation.cache_tag:
            changed = changed or "Python"
        self.why_not = f"{changed} has changed since it was compiled: make compile" if changed else ""
        return {} if changed else dict(made["libraries"])


def install(folder: str) -> None:
    """Looks there from now on; said twice, as some versions of Python read a `.pth` of a virtual environment, it looks once."""
    global finder
    if finder is None:
        finder = Finder(folder)
        sys.meta_path.insert(0, finder)


def _changed(root: Path, sources: dict[str, str]) -> str:
    """The first file that is another than it was; empty = none."""
    for name, digest in sources.items():
        try:
            if hashlib.sha256((root / name).read_bytes()).hexdigest() != digest:
                return name
        except OSError:
            return name
    return ""
