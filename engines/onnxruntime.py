"""ONNX Runtime: CPU, CUDA and TensorRT execution providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infaas.schemas.errors import BadModel, InferenceFailed, MissingDependency
from infaas.schemas.oip import Array

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class OnnxRuntimeEngine:
    """One inference session with as many threads as the variant has cores."""

    def __init__(self) -> None:
        self._session: Any = None
        self._outputs: list[str] = []

    def load(self, path: Path, *, platform: str = "cpu", cores: int = 1) -> None:
        """Loads an ONNX file; see `Engine.load`."""
        runtime = _library()
        provider = PROVIDERS.get(platform)
        if provider is None or provider not in runtime.get_available_providers():
            raise MissingDependency(
                f"ONNX Runtime has no {provider or platform!r} here ({', '.join(runtime.get_available_providers())}); "
                "`pip install infaas[cuda]` instead of `infaas[cpu]`, and the vendor's driver"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cores
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between batches take the core from the neighbours, and from the Kafka client.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps the peak of the largest batch for ever; plain allocation costs nothing measurable here.
        options.enable_cpu_mem_arena = False
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:
            raise BadModel("artifact", "an ONNX file this runtime can load", str(error)) from error
        if self._session.get_providers()[0] != provider:
            raise MissingDependency(f"ONNX Runtime fell back from {provider} to {self._session.get_providers()[0]}")
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs one batch; see `Engine.run`."""
        try:
            return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))
        except Exception as error:
            raise InferenceFailed(str(error)) from error

    def close(self) -> None:
        """Drops the session."""
        self._session = None


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependency("ONNX Runtime is not installed: `pip install infaas[cpu]` or `infaas[cuda]`") from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime
