"""Machine types and their prices.

Prices are Amazon EC2's on-demand list prices of us-east-1 (Linux) for the types the original was measured on; `local` is
this machine, at m5's price a core, so that figures on a laptop mean something.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class MachineType:
    """A kind of machine the provisioner can start."""

    name: str
    platforms: frozenset[str]
    cores: int
    memory_bytes: int
    price_per_hour: float
    accelerators: int = 0
    accelerator_memory_bytes: int = 0


CORE_PRICE_PER_HOUR = 0.048
CATALOGUE: tuple[MachineType, ...] = (
    MachineType("m5.2xlarge", frozenset({"cpu"}), 8, 32 * GIB, 0.384),
    MachineType("inf1.2xlarge", frozenset({"cpu", "neuron"}), 8, 16 * GIB, 0.362, 4, 8 * GIB),
    MachineType("p3.2xlarge", frozenset({"cpu", "cuda", "tensorrt"}), 8, 61 * GIB, 3.06, 1, 16 * GIB),
)


def local_type(cores: int, memory_bytes: int) -> MachineType:
    """A share of this machine."""
    return MachineType(f"local-{cores}", frozenset({"cpu"}), cores, memory_bytes, CORE_PRICE_PER_HOUR * cores)
