"""How an owner begins a partition, on both of its topics: asked once, then carried out until the broker has confirmed it.

1. Read what was committed and what is in the topic; a position beyond the end was lost by the broker, and begins at the start.
2. Decide by the poison rule. Asked a second time, after its own mark, the rule would count the same death twice.
3. Commit the mark, if there is one to commit, before anything runs; again until it is confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infaas.bus import progress
from infaas.bus.commits import Place
from infaas.bus.workqueue import WorkQueue
from infaas.host.messages import Take
from infaas.workers import poison
from infaas.workers.poison import Death, Mark, Start


@dataclass(frozen=True, slots=True)
class Beginning:
    """Of one topic's partition."""

    place: Place
    offset: int
    start: Start
    stale: bool
    """What is committed has to be written over, even where the poison rule has nothing to say."""
    lost_from: int | None = None
    """The position beyond the end that could not be begun at."""


def read(queue: WorkQueue, topic: str, order: Take, *, worker: str, online: bool) -> Beginning:
    """Steps 1 and 2, but that the other topic may make it a refusal.

    Args:
        queue: of the topic.
        topic: full name.
        order: the supervisor's.
        worker: ours.
        online: how far the owner before had taken is told of online work alone; of offline work nobody knows.

    Raises:
        RetryableError: if the broker does not answer, or has no such partition yet.
    """
    queue.learn(topic, order.partition)
    commit = queue.committed(topic, [order.partition])[order.partition]
    low, end = queue.watermarks(topic, order.partition)
    offset = progress.start(commit.offset, low)
    lost_from = offset if offset > end else None
    if lost_from is not None:
        offset = low
    death = None if order.death is None else Death(order.death.worker, order.death.furthest if online else None)
    mark = Mark.parse(commit.metadata)
    start = poison.start(offset, mark, death, end=end, worker=worker, others=order.others)
    stale = mark is not None or lost_from is not None
    return Beginning((topic, order.partition), offset, start, stale, lost_from)


def marks(beginnings: list[Beginning]) -> Mapping[Place, tuple[int, str]]:
    """What step 3 has to commit."""
    refusing = any(beginning.start.elsewhere for beginning in beginnings)
    out = {}
    for beginning in beginnings:
        mark = poison.to_commit(beginning.offset, beginning.start, refusing=refusing)
        if mark is not None:
            out[beginning.place] = (beginning.offset, str(mark))
        elif beginning.stale and not refusing:
            out[beginning.place] = (beginning.offset, "")
    return out
