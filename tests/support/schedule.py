"""Which process of a parallel run (`-n 3`) runs which test: those that start a whole stack one after the other, others beside them.

A stack is some ten processes, a Kafka among them: two at a time on two cores measure nothing but each other. Tests are handed out in their order, one at a time, so the slow ones (e2e, then kafka) begin first and the
last minute has only short ones. (pytest-xdist's own `--dist loadgroup` would do, but finds no group under pytest 9.)
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

WHOLE_STACKS = "tests/e2e/"


class Schedule(LoadScopeScheduling):
    """Hands out tests by themselves, those of whole stacks as a unit, which is the first."""

    def _split_scope(self, nodeid: str) -> str:
        return WHOLE_STACKS if nodeid.startswith(WHOLE_STACKS) else nodeid
