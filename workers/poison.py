"""The poison rule: who runs one at a time, who tries again elsewhere, and which record is condemned.

An owner whose predecessor did not release begins *after a death*: it runs what the dead one may have held one record at a
time. Before each it commits a mark. `deaths` is raised by the next owner, before it runs anything, and only if its
predecessor died; a second death, on another worker where there is one, condemns the record. What came into the log after the
new owner began cannot have been the dead one's, and runs as always; but first what ran alone is committed, so that no mark is left
that a later death would be blamed on. (Model-checked, spec `poison`.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HELD = 256
"""Records an instance may hold at once, over all its partitions."""
CONDEMNED = 2
_MARK = re.compile(r"trying=(\d+);(\d+);([a-z0-9-]*)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What an owner commits before it runs a record alone."""

    offset: int
    deaths: int
    first_worker: str = ""

    def __str__(self) -> str:
        return f"trying={self.offset};{self.deaths};{self.first_worker}"

    @classmethod
    def parse(cls, metadata: str) -> Mark | None:
        """Reads a commit's metadata string; None if it is no mark."""
        parts = _MARK.fullmatch(metadata)
        return cls(int(parts[1]), int(parts[2]), parts[3]) if parts else None


@dataclass(frozen=True, slots=True)
class Death:
    """How the owner before ended, if it did not release."""

    worker: str
    furthest: int | None = None
    """The offset after the furthest record it had taken; None = nobody alive knows."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a new owner begins."""

    alone_until: int
    """Records below this offset run one at a time."""
    deaths: int = 0
    """Of the record at the committed offset."""
    first_worker: str = ""
    condemn: bool = False
    """The record at the committed offset has killed twice."""
    elsewhere: bool = False
    """Another worker has to try."""


def start(committed: int, mark: Mark | None, death: Death | None, *, end: int, worker: str, others: bool) -> Start:
    """Decides how to begin at `committed`.

    Args:
        committed: where the partition stands.
        mark: of the commit, if it has one for this very offset.
        death: of the owner before.
        end: of the log now.
        worker: ours.
        others: whether another worker could take the partition.
    """
    if mark is not None and mark.offset != committed:
        mark = None  # the marked record is settled
    deaths, where = (mark.deaths, mark.first_worker) if mark else (0, "")
    if mark and death:
        if deaths == 0:
            deaths, where = 1, death.worker
        elif death.worker != where or not others:
            deaths = CONDEMNED  # twice on the same worker would prove nothing, where there is another
    if deaths >= CONDEMNED:
        return Start(_until(committed, mark, death, end), deaths, where, condemn=True)
    if deaths == 1 and where == worker and others:
        return Start(committed, deaths, where, elsewhere=True)
    return Start(_until(committed, mark, death, end), deaths, where)


def to_commit(committed: int, start: Start, *, refusing: bool) -> Mark | None:
    """The mark to commit before anything runs, or before another worker is asked to try; None = there is nothing to say.

    The count must not depend on who survives; and who comes after a refusal asks only how *that* owner ended, which was in
    good order: all that it can know of the death before is the mark.
    """
    if start.deaths or (refusing and start.alone_until > committed):
        return Mark(committed, start.deaths, start.first_worker)
    return None


def _until(committed: int, mark: Mark | None, death: Death | None, end: int) -> int:
    if death is not None and death.furthest is not None:
        return max(committed, death.furthest)
    if death is not None or mark is not None:
        return max(committed, min(committed + HELD, end))
    return committed
