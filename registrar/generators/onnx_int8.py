"""Dynamic int8: weights are stored as 8-bit integers, activations are quantised batch by batch; needs no calibration."""

from __future__ import annotations

from pathlib import Path

from infaas.registrar.generators.generator import NotApplicable

INTEGER_OPERATORS = frozenset(
    {"MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat"}
    | {"QLinearMatMul", "QLinearConv", "QGemm", "QAttention", "EmbedLayerNormalization"}
)
NOTHING = "it has no operator that dynamic int8 quantisation knows (MatMul, Gemm, Conv, LSTM, Attention)"


class Generator:
    """ONNX Runtime's `quantize_dynamic`."""

    def generate(self, source: Path, target: Path) -> None:
        """See `Generator.generate`."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        plain = [n for n in onnx.load(str(source)).graph.node if n.domain in ("", "ai.onnx")]
        if not plain:
            raise NotApplicable(NOTHING)
        try:
            quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8)
        except (ValueError, NotImplementedError, RuntimeError) as error:
            # The quantiser refuses models without a plain-ONNX opset, and operators it has no shapes for.
            raise NotApplicable(f"dynamic int8 quantisation refuses it: {error}") from error
        if not any(node.op_type in INTEGER_OPERATORS for node in onnx.load(str(target)).graph.node):
            raise NotApplicable(NOTHING)
