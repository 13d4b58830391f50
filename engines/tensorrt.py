"""TensorRT 10: serialised engine plans, or ONNX files that are built into one when they are loaded.

Untested here: no such hardware. It is written against the documented Python API. A plan runs only on the GPU model and the
TensorRT version it was built with, so a variant is built by a worker of the machine type that serves it.
Nothing falls back: without the library, the CUDA runtime or a device, loading is refused.
Source: https://docs.nvidia.com/deeplearning/tensorrt (Python API: Runtime, Builder, OnnxParser, ExecutionContext).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infaas.engines.cudart import Cuda
from infaas.schemas.errors import BadModel, InferenceFailed, MissingDependency
from infaas.schemas.oip import Array

MAX_BATCH = 64
"""Rows that a plan built at load time takes at most; what a recipe has unless it says otherwise."""
# An ONNX file is a protobuf message whose first field, the IR version, is a varint; a plan begins with a magic word.
ONNX_START = b"\x08"


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: np.dtype[Any]
    is_input: bool


class TensorRtEngine:
    """One execution context on the machine's first visible GPU, with device memory that grows to the largest batch."""

    def __init__(self) -> None:
        self._trt: Any = None
        self._cuda: Cuda | None = None
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._stream: Any = None
        self._tensors: tuple[_Tensor, ...] = ()
        self._buffers: dict[str, tuple[int, int]] = {}
        """Device address and size by tensor."""

    def load(self, path: Path, *, platform: str = "tensorrt", cores: int = 1) -> None:  # noqa: ARG002 - the GPU computes
        """Loads a plan, or builds one from an ONNX file; see `Engine.load`."""
        if platform != "tensorrt":
            raise MissingDependency(f"the tensorrt engine runs on tensorrt, not on {platform}")
        self._trt, self._cuda = _library(), Cuda.open()
        data = path.read_bytes()
        plan = build_plan(data) if data.startswith(ONNX_START) else data
        logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BadModel("artifact", f"a plan that TensorRT {self._trt.__version__} built for this GPU")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise BadModel("artifact", "a plan whose working memory fits on this GPU")
        self._tensors = tuple(self._tensor(i) for i in range(self._engine.num_io_tensors))
        self._stream = self._cuda.stream()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs one batch; see `Engine.run`."""
        assert self._cuda is not None, "not loaded"
        held = [self._put(tensor, inputs) for tensor in self._tensors if tensor.is_input]
        unknown = self._context.infer_shapes()
        if unknown:
            raise InferenceFailed(f"TensorRT can't tell the shapes of the outputs without {unknown}")
        outputs = {tensor.name: self._room(tensor) for tensor in self._tensors if not tensor.is_input}
        if not self._context.execute_async_v3(stream_handle=int(self._stream)):
            raise InferenceFailed("TensorRT refused the batch")
        for name, array in outputs.items():
            self._cuda.to_host(array, self._buffers[name][0], self._stream)
        self._cuda.wait(self._stream)
        del held  # the copies from these arrays have ended
        return outputs

    def close(self) -> None:
        """Gives the device's memory back."""
        if self._cuda is not None:
            for address, _ in self._buffers.values():
                self._cuda.free(address)
            if self._stream is not None:
                self._cuda.end(self._stream)
        self._buffers, self._stream = {}, None
        self._context = self._engine = self._runtime = self._cuda = None

    def _tensor(self, index: int) -> _Tensor:
        trt, name = self._trt, self._engine.get_tensor_name(index)
        try:
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        except TypeError:
            raise BadModel(f"tensors.{name}.datatype", "a datatype that numpy has") from None
        return _Tensor(name, dtype, self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)

    def _put(self, tensor: _Tensor, inputs: Mapping[str, Array]) -> Array:
        """Copies one input to the device; the array has to live until the stream was waited for."""
        assert self._cuda is not None
        if tensor.name not in inputs:
            raise InferenceFailed(f"input {tensor.name} is missing")
        array = np.ascontiguousarray(inputs[tensor.name], dtype=tensor.dtype)
        if not self._context.set_input_shape(tensor.name, array.shape):
            raise InferenceFailed(f"input {tensor.name}: the plan was not built for shape {list(array.shape)}")
        address = self._reserve(tensor.name, array.nbytes)
        self._cuda.to_device(address, array, self._stream)
        return array

    def _room(self, tensor: _Tensor) -> Array:
        """Room for one output, on the device and here."""
        shape = tuple(self._context.get_tensor_shape(tensor.name))
        if any(n < 0 for n in shape):
            raise InferenceFailed(f"output {tensor.name} has a shape that depends on the values: {list(shape)}")
        array = np.empty(shape, tensor.dtype)
        self._reserve(tensor.name, array.nbytes)
        return array

    def _reserve(self, name: str, size: int) -> int:
        assert self._cuda is not None
        address, room = self._buffers.get(name, (0, 0))
        if room < size or address == 0:
            if address:
                del self._buffers[name]
                self._cuda.free(address)
            address = self._cuda.allocate(max(1, size))
            self._buffers[name] = address, size
        if not self._context.set_tensor_address(name, address):
            raise InferenceFailed(f"TensorRT refused the memory of {name}")
        return address


def build_plan(onnx: bytes, *, max_batch: int = MAX_BATCH, half: bool = False) -> bytes:
    """Builds a plan for this machine's GPU: minutes for a big model.

    Args:
        onnx: a model whose only free axis is the first one, rows.
        max_batch: rows the plan takes at most.
        half: lets TensorRT compute in fp16 where that is faster.

    Raises:
        MissingDependency: TensorRT or a device is not there.
        BadModel: TensorRT can't build it; says why.
    """
    trt = _library()
    Cuda.open()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        why = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BadModel("artifact", "an ONNX file TensorRT can parse", why)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    if half:
        if not hasattr(trt.BuilderFlag, "FP16"):
            raise MissingDependency(
                "this TensorRT takes precisions from the ONNX file alone: convert that to fp16 instead"
            )
        config.set_flag(trt.BuilderFlag.FP16)
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        rows, *rest = tuple(tensor.shape)
        if any(n < 0 for n in rest):
            raise BadModel(f"inputs.{tensor.name}.shape", "no free axis but the first", [rows, *rest])
        if rows < 0:
            profile.set_shape(tensor.name, (1, *rest), (max_batch, *rest), (max_batch, *rest))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BadModel("artifact", "a model TensorRT can build for this GPU")
    return bytes(plan)


def _library() -> Any:
    missing = (
        "TensorRT is not usable here: it needs an NVIDIA GPU with its driver, and `pip install infaas[tensorrt]`, which "
        "has to reach NVIDIA's own package index (the public one has only a stub that fetches from there)"
    )
    try:
        import tensorrt
    except Exception as error:  # the stub raises what it likes, and a missing driver library is an OSError
        raise MissingDependency(f"{missing}: {error}") from error
    if not hasattr(tensorrt, "OnnxParser") or int(str(tensorrt.__version__).split(".", maxsplit=1)[0]) < 10:
        raise MissingDependency(f"{missing}; version 10 or newer, not {getattr(tensorrt, '__version__', 'a stub')}")
    return tensorrt
