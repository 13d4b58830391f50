"""Variants that are better in nothing than another of the same architecture, platform and cores: not worth placing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infaas.schemas.metadata import Variant

EQUAL = 0.02  # two measurements this near are the same
EQUAL_LOAD_MS = 20.0  # a process takes a second to start: less than this of loading is felt by nobody


def dominated(variants: Iterable[Variant]) -> dict[str, str]:
    """Names of dominated variants → by which one.

    A variant is kept unless another is at least as good in accuracy, latency of every batch, memory, load time and price, and
    is better in one of them; of two that are equal in all, the first by name is kept.
    """
    measured = sorted((v for v in variants if v.profile is not None), key=lambda v: v.variant)
    out: dict[str, str] = {}
    for variant in measured:
        for other in measured:
            if other.variant == variant.variant or other.variant in out or not _alike(variant, other):
                continue
            if _no_worse(other, variant) and (not _no_worse(variant, other) or other.variant < variant.variant):
                out[variant.variant] = other.variant
                break
    return {name: _served(by, out) for name, by in out.items()}


def _served(by: str, out: Mapping[str, str]) -> str:
    """Who dominates may be dominated in turn: named is one that is served."""
    while by in out:
        by = out[by]
    return by


def _alike(variant: Variant, other: Variant) -> bool:
    mine, theirs = variant.recipe, other.recipe
    return (variant.architecture, mine.platform, mine.cores) == (other.architecture, theirs.platform, theirs.cores)


def _no_worse(variant: Variant, other: Variant) -> bool:
    mine, theirs = variant.profile, other.profile
    assert mine is not None
    assert theirs is not None
    batches = {p.batch for p in mine.points} | {p.batch for p in theirs.points}
    pairs = [(mine.latency_ms(b), theirs.latency_ms(b)) for b in batches]
    pairs += [(mine.peak_memory_bytes, theirs.peak_memory_bytes), (mine.load_ms, theirs.load_ms + EQUAL_LOAD_MS)]
    pairs += [(variant.cost_per_hour or 0.0, other.cost_per_hour or 0.0)]
    return mine.accuracy >= theirs.accuracy and all(a <= b * (1 + EQUAL) for a, b in pairs)
