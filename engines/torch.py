"""PyTorch: TorchScript and `torch.export` programs. Never pickled code.

Needs `infaas[torch]`; its tests run under `make test-torch` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infaas.engines.module import ModuleEngine
from infaas.schemas.errors import BadModel, MissingDependency
from infaas.schemas.oip import Array


class TorchEngine(ModuleEngine):
    """A module that takes its inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self._device = "cpu"

    def load(self, path: Path, *, platform: str = "cpu", cores: int = 1) -> None:
        """Loads a TorchScript file (`.pt`) or an exported program (`.pt2`); see `Engine.load`."""
        try:
            import torch
        except ImportError:
            raise MissingDependency("PyTorch is not installed: `pip install infaas[torch]`") from None
        if platform == "cuda" and not torch.cuda.is_available():
            raise MissingDependency("PyTorch finds no CUDA device")
        if platform not in ("cpu", "cuda"):
            raise MissingDependency(f"the torch engine runs on cpu and cuda, not on {platform}")
        self._torch, self._device = torch, platform
        torch.set_num_threads(cores)
        try:
            if path.suffix == ".pt2":
                program = torch.export.load(path)
                _require_names(program)
                self._module = program.module().to(platform)
            else:
                self._module = torch.jit.load(path, map_location=platform).eval()
        except BadModel:
            raise
        except Exception as error:
            raise BadModel("artifact", "a TorchScript file or an exported program", str(error)) from error

    def _call(self, inputs: Mapping[str, Array]) -> Any:
        return self._module(**{name: self._tensor(array).to(self._device) for name, array in inputs.items()})


def _require_names(program: Any) -> None:
    """Refuses, when it is loaded and so when it is built, what could be called with no query: inputs come by name.

    Raises:
        BadModel: if it was exported with positional inputs.
    """
    positional, _ = program.example_inputs or ((), {})
    if positional:
        raise BadModel(
            "artifact",
            "a program exported with inputs by name: torch.export.export(module, (), {name: tensor, ...})",
            f"{len(positional)} positional",
        )
