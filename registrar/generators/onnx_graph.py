"""ONNX as it is, its graph optimised once and for all: what the runtime would do again at every start."""

from __future__ import annotations

from pathlib import Path

from infaas.schemas.errors import BadModel


class Generator:
    """Graph optimisations that hold on every machine (ONNX Runtime's `basic` level)."""

    def generate(self, source: Path, target: Path) -> None:
        """See `Generator.generate`."""
        import onnxruntime as runtime

        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        try:
            runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadModel("artifact", "an ONNX model that ONNX Runtime can load", str(error)) from error
