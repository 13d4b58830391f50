"""Which variants are made of an architecture. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infaas.schemas.errors import BadModel
from infaas.schemas.metadata import Architecture, Recipe, Variant
from infaas.schemas.names import VariantId


@dataclass(frozen=True, slots=True)
class Generator:
    """A way to make a variant: which engine and platform it is for, and its precision."""

    engine: str
    platform: str
    precision: str


GENERATORS: Mapping[str, Generator] = {
    "onnx": Generator("onnxruntime", "cpu", "fp32"),
    "int8": Generator("onnxruntime", "cpu", "int8"),
}


MOST_CORES = 256
"""Of one variant: more than a machine of the catalogue has."""
MOST_COUNTS = 8
"""Different core counts of one architecture: each is a build a generator, measured for seconds on its own."""


def check_plan(generators: tuple[str, ...] | None, cores: tuple[int, ...] | None) -> tuple[int, ...]:
    """Core counts to plan for.

    Raises:
        BadModel: naming an unknown generator or an impossible core count.
    """
    for name in generators or ():
        if name not in GENERATORS:
            raise BadModel("generators", f"names among {sorted(GENERATORS)}", name)
    for count in cores or ():
        if not 1 <= count <= MOST_CORES:
            raise BadModel("cores", f"counts from 1 to {MOST_CORES}", count)
    if len(set(cores or ())) > MOST_COUNTS:
        raise BadModel("cores", f"at most {MOST_COUNTS} different counts", len(set(cores or ())))
    return tuple(sorted(set(cores or (1, 2))))


def plan(architecture: Architecture) -> list[Variant]:
    """The variants to build, in state `planned`, in the order of their names."""
    out = []
    for name in dict.fromkeys(architecture.generators or GENERATORS):
        generator = GENERATORS[name]
        for cores in architecture.cores:
            identity = VariantId(
                architecture.architecture,
                architecture.version,
                generator.engine,
                generator.platform,
                cores,
                generator.precision,
            )
            recipe = Recipe(
                source_digest=architecture.source_digest,
                generator=name,
                engine=generator.engine,
                platform=generator.platform,
                cores=cores,
                precision=generator.precision,
                max_batch=architecture.max_batch,
            )
            out.append(
                Variant(
                    variant=str(identity),
                    architecture=architecture.architecture,
                    application=architecture.application,
                    recipe=recipe,
                    state="planned",
                    contract=architecture.contract,
                    validation_digest=architecture.contract.validation_digest,
                )
            )
    return sorted(out, key=lambda v: v.variant)
