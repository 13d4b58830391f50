"""The few calls of the CUDA runtime that an engine needs to move tensors, through NVIDIA's `cuda-python`.

Untested here: no such hardware.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self

from infaas.schemas.errors import InferenceFailed, MissingDependency
from infaas.schemas.oip import Array

REMEDY = "install `cuda-python` (`pip install infaas[tensorrt]`) and NVIDIA's driver"


class Cuda:
    """The CUDA runtime, with its error codes turned into exceptions."""

    def __init__(self, library: Any) -> None:
        self._lib = library

    @classmethod
    def open(cls) -> Self:
        """The runtime of this machine.

        Raises:
            MissingDependency: the library, the driver or a device is not there.
        """
        runtime = cls(_library())
        try:
            count = runtime._call("cudaGetDeviceCount")
        except Exception as error:  # without a driver the bindings raise what their loader raised
            raise MissingDependency(f"CUDA finds no device: {REMEDY}: {error}") from error
        if not count:
            raise MissingDependency("CUDA finds no device on this machine")
        return runtime

    def stream(self) -> Any:
        """A new stream."""
        return self._call("cudaStreamCreate")

    def end(self, stream: Any) -> None:
        """Gives a stream back."""
        self._call("cudaStreamDestroy", stream)

    def allocate(self, size: int) -> int:
        """Device memory, its address.

        Raises:
            InferenceFailed: there is not enough.
        """
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._call("cudaFree", address)

    def to_device(self, address: int, array: Array, stream: Any) -> None:
        """Begins to copy a contiguous array, which has to live until the stream was waited for."""
        kind = self._lib.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def to_host(self, array: Array, address: int, stream: Any) -> None:
        """Begins to fill a contiguous array."""
        kind = self._lib.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def wait(self, stream: Any) -> None:
        """Waits for all that was begun on a stream."""
        self._call("cudaStreamSynchronize", stream)

    def _call(self, name: str, *args: Any) -> Any:
        status, *results = getattr(self._lib, name)(*args)
        codes = self._lib.cudaError_t
        if status == codes.cudaErrorMemoryAllocation:
            raise InferenceFailed(f"the GPU's memory does not hold this batch ({name})")
        if status != codes.cudaSuccess:
            # After any other error the process can't use the device again: it has to end, and its supervisor restarts it.
            raise RuntimeError(f"{name}: {status}")
        return results[0] if results else None


def _library() -> Any:
    try:
        try:
            return import_module("cuda.bindings.runtime")
        except ImportError:
            return import_module("cuda.cudart")  # its name before cuda-python 12.6
    except Exception as error:
        raise MissingDependency(f"the CUDA runtime can't be called from Python: {REMEDY}: {error}") from error
