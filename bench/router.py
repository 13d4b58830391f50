"""`bench router`: the router alone, at scale: what a choice takes, what its loop takes beside a bare one, how fair it is.

And in a large cell: what it takes to hear of a thousand workers, and how long answers take while another router joins or leaves.
"""

from __future__ import annotations

from infaas.bench.fair import fair
from infaas.bench.heard import heard
from infaas.bench.members import members
from infaas.bench.router_loop import TURNS, router_loop
from infaas.bench.selection import selection
from infaas.cli.console import progress


def router(*, turns: int = TURNS) -> dict[str, float]:
    """Measures; returns times, ratios to the bare loop, and to an ideal single queue."""
    progress("choosing among 1,000 and 10,000 instances")
    return selection() | fair() | heard() | members(turns=turns) | router_loop(turns=turns)
