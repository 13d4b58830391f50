"""What waits in the work topics, read from Kafka itself: a report may be late, an offset is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from infaas.bus.admin import Admin
from infaas.schemas.topics import TopicNames


@dataclass(frozen=True, slots=True)
class Waiting:
    """One partition of a work or offline topic."""

    topic: str
    partition: int
    begin: int
    """max(committed, low watermark): everything below is answered."""
    end: int
    low: int

    @property
    def count(self) -> int:
        """Records that are not known to be answered."""
        return max(0, self.end - self.begin)


@dataclass(frozen=True, slots=True)
class Backlogs:
    """All partitions of all variants, by variant."""

    by_variant: Mapping[str, tuple[Waiting, ...]]
    partitions: Mapping[str, int]
    """That the variant's work and offline topic both have; a variant without topics is not there."""
    uneven: Mapping[str, int] = field(default_factory=dict)
    """Variants whose topics differ, with the larger count: who grew them did not come to the end."""

    def of(self, variant: str) -> tuple[Waiting, ...]:
        """A variant's partitions."""
        return self.by_variant.get(variant, ())

    def count(self, variant: str) -> int:
        """Records that wait for a variant."""
        return sum(waiting.count for waiting in self.of(variant))


def read_backlogs(admin: Admin, names: TopicNames, variants: Iterable[str]) -> Backlogs:
    """Asks for the topics of these variants, in three requests whatever their number.

    Raises:
        KafkaUnavailable: if no broker answers.
    """
    sizes = admin.topics()
    topics = {t: sizes[t] for v in variants for t in (names.work(v), names.offline(v)) if t in sizes}
    marks, commits = admin.watermarks(topics), admin.committed(topics)
    by_variant: dict[str, list[Waiting]] = {}
    for (topic, partition), (low, end) in sorted(marks.items()):
        commit = commits.get((topic, partition))
        begin = low if commit is None or commit.offset is None else max(low, commit.offset)
        by_variant.setdefault(names.variant_of(topic), []).append(Waiting(topic, partition, begin, end, low))
    counts: dict[str, list[int]] = {}
    for topic, count in topics.items():
        counts.setdefault(names.variant_of(topic), []).append(count)
    return Backlogs(
        {v: tuple(all_) for v, all_ in by_variant.items()},
        {v: min(pair) for v, pair in counts.items() if len(pair) > 1},
        {v: max(pair) for v, pair in counts.items() if len(pair) > 1 and min(pair) < max(pair)},
    )
