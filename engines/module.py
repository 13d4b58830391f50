"""What the engines on PyTorch share: a loaded module, run on a batch, and its answer as arrays by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from infaas.schemas.errors import InferenceFailed
from infaas.schemas.oip import Array


class ModuleEngine(ABC):
    """One module; outputs come back as a dict or as `output0`, `output1`, ..."""

    def __init__(self) -> None:
        self._torch: Any = None
        self._module: Any = None

    @abstractmethod
    def _call(self, inputs: Mapping[str, Array]) -> Any:
        """What the module gives for a batch."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs one batch; see `Engine.run`."""
        try:
            with self._torch.inference_mode():
                answer = self._call(inputs)
        except InferenceFailed:
            raise
        except Exception as error:
            raise InferenceFailed(str(error)) from error
        if not isinstance(answer, dict):
            tensors = answer if isinstance(answer, tuple | list) else (answer,)
            answer = {f"output{i}": tensor for i, tensor in enumerate(tensors)}
        return {name: tensor.cpu().numpy() for name, tensor in answer.items()}

    def close(self) -> None:
        """Drops the module."""
        self._module = None

    def _tensor(self, array: Array) -> Any:
        """A copy: a batch may be a view of a record's bytes, which nobody may write to."""
        return self._torch.from_numpy(np.array(array))
