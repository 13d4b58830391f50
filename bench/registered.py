"""A network of a benchmark's, registered as a user would."""

from __future__ import annotations

import orjson

from infaas.bench.model import Network, inputs, validation_of
from infaas.cli.console import progress
from infaas.cli.stack import Stack
from infaas.client import Client, follow
from infaas.schemas.metadata import Variant


def registered(stack: Stack, name: str, network: Network) -> Variant:
    """Registers it under its own application, has it answer once, and leaves `name.onnx` in the stack's folder; its one variant."""
    progress(f"registering the {name} model")
    (stack.data_dir / f"{name}.onnx").write_bytes(network.onnx())
    with Client(stack.settings, repository_url=stack.repository_url) as client:
        found = client.register(
            name,
            application=name,
            model=network.onnx(),
            validation_set=validation_of(network),
            max_batch=32,
            cores=(1,),
            generators=("onnx",),
        )
        *_, state = follow(stack.settings, name, found.version, timeout=180)
        client.infer(name, {"x": inputs(1)}, latency_ms=60_000.0)
    (variant,) = state.variants
    return variant


def body() -> bytes:
    """One row for it, as OIP JSON."""
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": inputs(1).ravel().tolist()}
    return orjson.dumps({"inputs": [tensor]})
