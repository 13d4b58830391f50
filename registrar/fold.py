"""From what builds found to what the catalogue says: which records differ from what they should be. Pure.

accepted → planned variants → building → each ready, rejected or failed → the architecture ready, or failed if none is.

A version takes over from the one before when it is ready: until then that one is served on, but no longer built. A variant that
no worker is large enough for, or that has found no place for long, holds nobody up; it is built when one comes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from infaas.policy.price import variant_cost_per_hour
from infaas.registrar.dominance import dominated
from infaas.registrar.plan import plan
from infaas.schemas.metadata import SERVABLE, Architecture, Built, Variant
from infaas.schemas.names import VariantId
from infaas.schemas.profile import Profile, fit_line
from infaas.store.view import View

OPEN = frozenset({"planned", "building"})
REASON_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be written."""

    records: tuple[Architecture | Variant, ...] = ()
    deleted: tuple[str, ...] = ()


def fold(view: View, *, topic_gone: Callable[[str], bool], stalled: AbstractSet[str] = frozenset()) -> Changes:
    """The next step of everything that is under way.

    Args:
        view: the picture.
        topic_gone: whether a retired variant's topics are deleted.
        stalled: variants that have found no place to be built for long.
    """
    out: list[Architecture | Variant] = []
    deleted: list[str] = []
    for architecture in view.architectures.values():
        mine = [v for v in view.variants.values() if v.architecture == architecture.architecture]
        now = [v for v in mine if version_of(v) == architecture.version]
        old = [v for v in mine if version_of(v) < architecture.version and v.state != "retired"]
        out += [_retired(v) for v in old if v.state in OPEN and architecture.state != "retired"]
        match architecture.state:
            case "accepted":
                existing = {v.variant for v in now}
                missing = [v for v in plan(architecture) if v.variant not in existing]
                out += missing or [architecture.model_copy(update={"state": "building"})]
            case "building":
                out += _build(view, architecture, now, stalled)
            case "ready":
                out += _progress(view, now, stalled) or _settle(view, now)
                out += [_retired(v) for v in old if v.state not in OPEN]
            case "retired":
                out += [_retired(v) for v in mine if v.state != "retired"]
            case "failed":
                pass
        for variant in mine:
            if variant.state == "retired" and topic_gone(variant.variant):
                deleted += [*_found(view, variant.variant), variant.key]
    orphans = {*view.built, *view.waiting_builds, *view.profiles} - set(view.variants)
    deleted += [key for name in sorted(orphans) for key in _found(view, name)]  # of a build that ended too late
    return Changes(tuple(out), tuple(deleted))


def version_of(variant: Variant) -> int:
    """The version of the architecture that a variant belongs to."""
    return VariantId.parse(variant.variant).version


def _build(
    view: View, architecture: Architecture, variants: list[Variant], stalled: AbstractSet[str]
) -> list[Architecture | Variant]:
    out = _progress(view, variants, stalled)
    if out or any(v.state in OPEN and v.variant not in stalled and _can_be_built(view, v) for v in variants):
        return out
    if any(v.state == "ready" for v in variants):
        return [*_settle(view, variants), architecture.model_copy(update={"state": "ready"})]
    if any(v.state in OPEN for v in variants):
        return []
    why = "; ".join(f"{v.variant}: {v.reason}" for v in variants) or "no variant was planned"
    return [architecture.model_copy(update={"state": "failed", "reason": _short(why)})]


def _progress(view: View, variants: list[Variant], stalled: AbstractSet[str]) -> list[Architecture | Variant]:
    """Variants under way that are further than their record says."""
    open_ = [v for v in variants if v.state in OPEN]
    return [after for variant in open_ if (after := _folded(view, variant, stalled)) != variant]


def _can_be_built(view: View, variant: Variant) -> bool:
    """Whether a worker is there, or on its way, that is large enough; with no worker at all it is waited for."""
    coming = any(m.wanted == "running" and n not in view.live_workers for n, m in view.machines.items())
    return coming or not view.live_workers or not _too_large(view, variant)


def _too_large(view: View, variant: Variant) -> str:
    """Why no worker that is there can build it; empty if one can, or none is there."""
    recipe, workers = variant.recipe, [w.hardware for w in view.live_workers.values()]
    able = [h.cores for h in workers if recipe.platform in h.platforms]
    if not workers or any(recipe.cores <= cores for cores in able):
        return ""
    largest = f"the largest has {max(able)}" if able else f"none has {recipe.platform}"
    return f"no worker can build it: it needs {recipe.cores} cores of {recipe.platform}, and {largest}"


def _folded(view: View, variant: Variant, stalled: AbstractSet[str]) -> Variant:
    built = view.built.get(variant.variant)
    if built is None:
        return _under_way(view, variant, stalled)
    match built.outcome:
        case "not_applicable":
            return variant.model_copy(update={"state": "rejected", "reason": _short(built.reason)})
        case "failed":
            return variant.model_copy(update={"state": "failed", "reason": _short(built.reason)})
        case "built":
            return _ready(view, variant, built)
        case "waiting":
            return _under_way(view, variant, stalled)


def _under_way(view: View, variant: Variant, stalled: AbstractSet[str]) -> Variant:
    """Building where a worker is there that it is placed on; else it is planned again. It says why nobody builds it, or why
    the worker that does has to wait.
    """
    begun = variant.variant in builds_under_way(view)
    reason = _too_large(view, variant)
    state = "building" if begun and not reason else "planned"
    if not reason and not begun and variant.variant in stalled:
        reason = f"it waits for a worker with {variant.recipe.cores} cores that the load does not need"
    waiting = view.waiting_builds.get(variant.variant)
    if waiting is not None and state == "building" and _builds_there(view, waiting):
        reason = _short(f"{waiting.worker}: {waiting.reason}")
    return variant.model_copy(update={"state": state, "reason": reason})


def builds_under_way(view: View) -> frozenset[str]:
    """Variants that are placed to be built on a worker that is there."""
    return frozenset(v for (w, v), p in view.placements.items() if p.build and w in view.live_workers)


def _builds_there(view: View, built: Built) -> bool:
    placement = view.placements.get((built.worker, built.variant))
    return placement is not None and placement.build and built.worker in view.live_workers


def _short(reason: str) -> str:
    """What a generator says may be long, and a record has a limit."""
    return reason if len(reason) <= REASON_CHARACTERS else reason[: REASON_CHARACTERS - 3] + "..."


def _ready(view: View, variant: Variant, built: Built) -> Variant:
    measured = sorted(view.profiles.get(variant.variant, {}).items())
    points = tuple(  # one machine's curve, never two machines'
        p.point for batch, p in measured if p.worker == built.worker and (built.batch_invariant or batch == 1)
    )
    if not points:
        return variant.model_copy(update={"state": "failed", "reason": "the build ended without a measured point"})
    slope, intercept = fit_line(points)
    profile = Profile(
        load_ms=built.load_ms,
        peak_memory_bytes=built.peak_memory_bytes,
        accuracy=built.accuracy,
        points=points,
        slope=slope,
        intercept=intercept,
        agreement=built.agreement,
        path=built.path,
    )
    recipe = variant.recipe
    cost = variant_cost_per_hour(recipe.platform, recipe.cores, built.peak_memory_bytes)
    update = {
        "state": "ready",
        "artifact_digest": built.artifact_digest,
        "profile": profile,
        "cost_per_hour": cost,
        "reason": built.reason,
    }
    return variant.model_copy(update=update)


def _settle(view: View, variants: list[Variant]) -> list[Architecture | Variant]:
    """Marks what is dominated, and what is no longer."""
    served = [v for v in variants if v.state in SERVABLE]
    worse = dominated(served)
    out: list[Architecture | Variant] = []
    for variant in served:
        state = "dominated" if variant.variant in worse else "ready"
        if variant.state != state:
            built = view.built.get(variant.variant)
            by = worse.get(variant.variant)
            reason = f"{by} is no worse in anything" if by else built.reason if built else ""
            out.append(variant.model_copy(update={"state": state, "reason": reason}))
    return out


def _retired(variant: Variant) -> Variant:
    return variant.model_copy(update={"state": "retired"})


def _found(view: View, variant: str) -> list[str]:
    """Keys of what builds of a variant found."""
    keys = [p.key for p in view.profiles.get(variant, {}).values()]
    built = view.built.get(variant) or view.waiting_builds.get(variant)
    return keys if built is None else [*keys, built.key]
