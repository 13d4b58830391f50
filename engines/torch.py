"""PyTorch: TorchScript and `torch.export` programs. Never pickled code.

Needs `infaas[torch]`; its tests run under `make test-torch` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infaas.schemas.errors import BadModel, InferenceFailed, MissingDependency
from infaas.schemas.oip import Array


class TorchEngine:
    """One module; inputs go in by name, outputs come back as a dict or as `output0`, `output1`, ..."""

    def __init__(self) -> None:
        self._torch: Any = None
        self._module: Any = None
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
                self._module = torch.export.load(path).module().to(platform)
            else:
                self._module = torch.jit.load(path, map_location=platform).eval()
        except Exception as error:
            raise BadModel("artifact", "a TorchScript file or an exported program", str(error)) from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs one batch; see `Engine.run`."""
        torch = self._torch
        try:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(np.array(array)).to(self._device) for name, array in inputs.items()}
                found = self._module(**tensors)
        except Exception as error:
            raise InferenceFailed(str(error)) from error
        if not isinstance(found, dict):
            many = found if isinstance(found, tuple | list) else (found,)
            found = {f"output{i}": tensor for i, tensor in enumerate(many)}
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}

    def close(self) -> None:
        """Drops the module."""
        self._module = None
