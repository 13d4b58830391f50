"""Variants to choose from, and their catalogue."""

from infaas.router.candidates import Catalogue
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.metadata import Architecture, Recipe, Variant
from infaas.schemas.profile import BatchPoint, Profile, fit_line

SPEC = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))
CONTRACT = Contract(inputs=(SPEC,), outputs=(SPEC,), validation_digest="sha256:0")


def profile(p50=1.0, p99=2.0, batch8=4.0, *, accuracy=0.9, load_ms=100.0):
    points = (
        BatchPoint(batch=1, p50_ms=p50, p99_ms=p99),
        BatchPoint(batch=8, p50_ms=p50 * batch8, p99_ms=p99 * batch8),
    )
    slope, intercept = fit_line(points)
    return Profile(
        load_ms=load_ms, peak_memory_bytes=1, accuracy=accuracy, points=points, slope=slope, intercept=intercept
    )


def variant(name, found, cost=0.1, state="ready"):
    recipe = Recipe(
        source_digest="s", generator="onnx", engine="onnxruntime", platform="cpu", cores=1, precision="fp32"
    )
    return Variant(
        variant=name, architecture=name.split(".")[0], application="app", recipe=recipe, state=state, contract=CONTRACT,
        validation_digest="sha256:0", profile=found, cost_per_hour=cost,
    )  # fmt: skip


def catalogue(variants):
    architectures = [
        Architecture(
            architecture=v.architecture,
            application="app",
            version=1,
            contract=CONTRACT,
            source_digest="s",
            state="ready",
        )
        for v in variants
    ]
    return Catalogue({v.variant: v for v in variants}, {a.architecture: a for a in architectures})


def candidate(variants, name):
    return next(c for c in catalogue(variants).all_of("application", "app") if c.variant == name)
