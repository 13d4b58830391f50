"""What a generator is, and how one is found by its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

from infaas.schemas.errors import BadInput, PermanentError

MODULES = {"onnx": "infaas.registrar.generators.onnx_graph", "int8": "infaas.registrar.generators.onnx_int8"}


class NotApplicable(PermanentError):
    """This generator can't make anything of this model: no failure, there is just no such variant."""

    code = "not_applicable"


class Generator(Protocol):
    """Makes an artifact."""

    def generate(self, source: Path, target: Path) -> None:
        """Writes the artifact of `source` to `target`.

        Raises:
            NotApplicable: with the reason.
            BadModel: the source can't be read.
        """


def generator(name: str) -> Generator:
    """A generator by name; nothing is imported for the others.

    Raises:
        BadInput: if there is none of this name.
    """
    if name not in MODULES:
        raise BadInput("generator", f"one of {sorted(MODULES)}", name)
    made: Generator = import_module(MODULES[name]).Generator()
    return made
