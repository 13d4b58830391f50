"""The picture a reader of the metadata topic has: immutable, with the offset it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from infaas.schemas.metadata import (
    AnyRecord,
    Architecture,
    Assignment,
    Built,
    Instance,
    Machine,
    Owner,
    Placement,
    ProfilePoint,
    Variant,
    Verdict,
    Worker,
)

K = TypeVar("K")
V = TypeVar("V")
_LIVES = ("instance", "worker", "verdict")
"""What says whether an instance's fact counts."""
_NOTHING: Mapping[str, AnyRecord] = MappingProxyType({})


@dataclass(frozen=True)
class View:
    """All records that count, by key."""

    offset: int
    """Everything of the topic below it is in the picture."""
    catalogue_version: int
    """Changes when an architecture or a variant does."""
    kinds: Mapping[str, Mapping[str, AnyRecord]] = field(default_factory=dict)
    """Records by kind and key; a kind's map is shared between views in which it did not change."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """Newest claim of each role, by the offset it stands at."""
    derived: dict[str, tuple[tuple[Mapping[str, AnyRecord], ...], Any]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What was worked out last, by name, with the maps it was worked out of; shared by the views of one picture, for most of
    a cell stays as it is from one to the next."""

    def get(self, key: str) -> AnyRecord | None:
        """The record under a key."""
        return self.kinds.get(key.partition("/")[0], {}).get(key)

    @property
    def records(self) -> Mapping[str, AnyRecord]:
        """All records by key."""
        return {key: record for kind in self.kinds.values() for key, record in kind.items()}

    @cached_property
    def architectures(self) -> Mapping[str, Architecture]:
        """By name."""
        return self._keep(
            "architectures",
            ("architecture",),
            lambda: {r.architecture: r for r in self._of("architecture") if isinstance(r, Architecture)},
        )

    @cached_property
    def variants(self) -> Mapping[str, Variant]:
        """By name."""
        return self._keep(
            "variants", ("variant",), lambda: {r.variant: r for r in self._of("variant") if isinstance(r, Variant)}
        )

    @cached_property
    def built(self) -> Mapping[str, Built]:
        """What builds that have ended have found, by variant."""
        return self._keep(
            "built",
            ("built",),
            lambda: {r.variant: r for r in self._of("built") if isinstance(r, Built) and r.outcome != "waiting"},
        )

    @cached_property
    def waiting_builds(self) -> Mapping[str, Built]:
        """Builds that wait for a reason outside of them to pass, by variant."""
        return self._keep(
            "waiting_builds",
            ("built",),
            lambda: {r.variant: r for r in self._of("built") if isinstance(r, Built) and r.outcome == "waiting"},
        )

    @cached_property
    def profiles(self) -> Mapping[str, Mapping[int, ProfilePoint]]:
        """By variant and batch size."""
        return self._keep("profiles", ("profile",), self._profiles)

    @cached_property
    def machines(self) -> Mapping[str, Machine]:
        """By id."""
        return self._keep(
            "machines", ("machine",), lambda: {r.machine: r for r in self._of("machine") if isinstance(r, Machine)}
        )

    @cached_property
    def workers(self) -> Mapping[str, Worker]:
        """By name; those pronounced dead are still here until they are back with a new boot id."""
        return self._keep(
            "workers", ("worker",), lambda: {r.worker: r for r in self._of("worker") if isinstance(r, Worker)}
        )

    @cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """By worker."""
        return self._keep(
            "verdicts", ("verdict",), lambda: {r.worker: r for r in self._of("verdict") if isinstance(r, Verdict)}
        )

    @cached_property
    def live_workers(self) -> Mapping[str, Worker]:
        """Workers whose boot id has not been pronounced dead and that have not stopped."""
        return self._keep(
            "live_workers",
            ("worker", "verdict"),
            lambda: {n: w for n, w in self.workers.items() if self.boot_counts(n, w.boot_id) and w.state != "stopped"},
        )

    @cached_property
    def placements(self) -> Mapping[tuple[str, str], Placement]:
        """By worker and variant."""
        return self._keep(
            "placements",
            ("placement",),
            lambda: {(r.worker, r.variant): r for r in self._of("placement") if isinstance(r, Placement)},
        )

    @cached_property
    def assignments(self) -> Mapping[str, Assignment]:
        """By variant."""
        return self._keep(
            "assignments",
            ("assignment",),
            lambda: {r.variant: r for r in self._of("assignment") if isinstance(r, Assignment)},
        )

    @cached_property
    def all_instances(self) -> Mapping[tuple[str, str, int], Instance]:
        """Facts by worker, variant and number, void ones included."""
        return self._keep(
            "all_instances",
            ("instance",),
            lambda: {(r.worker, r.variant, r.instance): r for r in self._of("instance") if isinstance(r, Instance)},
        )

    @cached_property
    def instances(self) -> Mapping[tuple[str, str, int], Instance]:
        """Facts that count."""
        return self._keep(
            "instances",
            _LIVES,
            lambda: {k: i for k, i in self.all_instances.items() if self.boot_counts(i.worker, i.boot_id)},
        )

    @cached_property
    def instances_of(self) -> Mapping[str, tuple[Instance, ...]]:
        """Facts that count, by variant."""
        return self._keep("instances_of", _LIVES, self._instances_of)

    def boot_counts(self, worker: str, boot_id: str) -> bool:
        """Whether a boot id is the worker's current one and not pronounced dead: anything else is void."""
        now, verdict = self.workers.get(worker), self.verdicts.get(worker)
        return now is not None and now.boot_id == boot_id and (verdict is None or verdict.boot_id != boot_id)

    def void(self, owner: Owner | None) -> bool:
        """Whether an owner is known not to run: none at all, or of a boot id that does not count."""
        return owner is None or not self.boot_counts(owner.worker, owner.boot_id)

    def failed(self, variant: str, owner: Owner) -> bool:
        """Whether the instance that owns says of itself that it failed for good."""
        fact = self.instances.get((owner.worker, variant, owner.instance))
        return fact is not None and fact.boot_id == owner.boot_id and fact.state == "failed"

    def owner_void(self, variant: str, owner: Owner | None) -> bool:
        """Void, or failed: the partition has no owner and is assigned again."""
        return self.void(owner) or (owner is not None and self.failed(variant, owner))

    def holders(self, variant: str, partition: int) -> list[Instance]:
        """Facts that count and have the partition as taken."""
        return [i for i in self.instances_of.get(variant, ()) if partition in i.taken]

    def _profiles(self) -> dict[str, Mapping[int, ProfilePoint]]:
        out: dict[str, dict[int, ProfilePoint]] = {}
        for record in self._of("profile"):
            if isinstance(record, ProfilePoint):
                out.setdefault(record.variant, {})[record.point.batch] = record
        return dict(out)

    def _instances_of(self) -> dict[str, tuple[Instance, ...]]:
        out: dict[str, list[Instance]] = {}
        for instance in self.instances.values():
            out.setdefault(instance.variant, []).append(instance)
        return {variant: tuple(instances) for variant, instances in out.items()}

    def _keep(self, name: str, kinds: tuple[str, ...], derive: Callable[[], dict[K, V]]) -> Mapping[K, V]:
        """What is worked out of these kinds; once, for as long as none of them changes."""
        maps = tuple(self.kinds.get(kind, _NOTHING) for kind in kinds)
        known = self.derived.get(name)
        if known is not None and all(one is other for one, other in zip(known[0], maps, strict=True)):
            kept: Mapping[K, V] = known[1]
            return kept
        derived = MappingProxyType(derive())
        self.derived[name] = maps, derived
        return derived

    def _of(self, kind: str) -> list[AnyRecord]:
        return list(self.kinds.get(kind, {}).values())
