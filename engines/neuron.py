"""AWS Neuron: TorchScript modules traced and compiled with `torch_neuronx`, on Inferentia2 and Trainium.

Untested here: no such hardware. It is written against the documented API. The artifact is what `torch_neuronx.trace`, then
`torch_neuronx.dynamic_batch` and `torch.jit.save` wrote: without `dynamic_batch` a module takes only the batch it was traced
with. Inferentia1 (`inf1` machines) needs the older `torch_neuron`, whose modules do not load here.
Nothing falls back: without the library or a device, loading is refused.
Source: https://awsdocs-neuron.readthedocs-hosted.com (PyTorch NeuronX tracing API, NeuronX runtime configuration).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infaas.engines.module import ModuleEngine
from infaas.schemas.errors import BadModel, InferenceFailed, MissingDependency
from infaas.schemas.oip import Array

DEVICES = Path("/dev")
REMEDY = (
    "It needs an inf2 or trn machine, and `pip install infaas[neuron]` with AWS's own package index for Neuron as an extra "
    "index (the public one has only a stub)"
)


class NeuronEngine(ModuleEngine):
    """A traced module on one NeuronCore."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []

    def load(self, path: Path, *, platform: str = "neuron", cores: int = 1) -> None:
        """Loads a traced module; `cores` are the host's. See `Engine.load`."""
        if platform != "neuron":
            raise MissingDependency(f"the neuron engine runs on neuron, not on {platform}")
        # The runtime reads this when it starts. It gives cores to one process only, and would give all to the first.
        if "NEURON_RT_VISIBLE_CORES" not in os.environ:
            os.environ.setdefault("NEURON_RT_NUM_CORES", "1")
        torch = _library()
        if not any(DEVICES.glob("neuron[0-9]*")):
            raise MissingDependency(
                "no Neuron device (/dev/neuron0) on this machine: it takes an inf2 or trn machine with the "
                "aws-neuronx-dkms driver"
            )
        self._torch = torch
        torch.set_num_threads(cores)
        try:
            self._module = torch.jit.load(str(path)).eval()
            self._names = [argument.name for argument in self._module.forward.schema.arguments][1:]
        except Exception as error:
            raise BadModel("artifact", "a TorchScript file traced by torch_neuronx", str(error)) from error

    def _call(self, inputs: Mapping[str, Array]) -> Any:
        return self._module(*(self._tensor(array) for array in self._in_order(inputs)))

    def _in_order(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Inputs as the module takes them: traced modules know positions, and a caller's order means nothing."""
        if len(inputs) == len(self._names) == 1:
            return list(inputs.values())
        if set(inputs) != set(self._names):
            raise InferenceFailed(f"inputs {sorted(inputs)} are not those the module was traced with: {self._names}")
        return [inputs[name] for name in self._names]


def _library() -> Any:
    try:
        import torch
        import torch_neuronx
    except Exception as error:  # the stub raises what it likes
        raise MissingDependency(f"torch_neuronx is not usable here. {REMEDY}: {error}") from error
    if not hasattr(torch_neuronx, "trace"):
        raise MissingDependency(f"torch_neuronx is only a stub here. {REMEDY}")
    return torch
