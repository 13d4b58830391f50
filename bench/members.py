"""How long answers take while a router joins or leaves: a whole cell with a real instance, under a steady open load.

A second router is told to end, and started again, in turns; what counts are the answers to all queries of the seconds around that,
the process's own start included, which takes a core from everybody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from infaas.bench.model import Network
from infaas.bench.own_stack import own_stack
from infaas.bench.plain_client import PlainClient
from infaas.bench.registered import body, registered
from infaas.bus.admin import Admin
from infaas.cli.console import progress
from infaas.cli.stack import Shape, Stack
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import APPLICATION, LATENCY_MS
from infaas.schemas.topics import QUERIES, ROUTER_GROUP

RATE = 150.0
BEFORE_S, AROUND_S = 0.5, 3.0
"""A window begins so long before a router is told, and is so long."""
SETTLE_S = 3.0
WARM_UP_S = 10.0
IN_FLIGHT, WARM_UP = 64, 10_000
"""The broker's compiler is busy for longer than a join takes."""
PATIENCE_S = 30.0
NAME = "members"
SECOND = "router-2"


def members(*, turns: int) -> dict[str, float]:
    """Measures; returns 99th percentiles and the longest of all turns, ms."""
    with own_stack(Shape(workers=1, cores=2, routers=2, idle_s=3600)) as stack:
        registered(stack, NAME, Network.of())
        client = _client(stack)
        try:
            return _turns(stack, client, turns)
        finally:
            client.close()


def _client(stack: Stack) -> PlainClient:
    return PlainClient(
        stack.settings,
        topic=stack.settings.names.of(QUERIES),
        replies=PlainClient.make_topic(stack.settings, f"{NAME}-replies"),
        value=body(),
        headers=[(APPLICATION, NAME.encode()), (LATENCY_MS, b"60000")],
    )


def _turns(stack: Stack, client: PlainClient, turns: int) -> dict[str, float]:
    second, group = stack.services[SECOND], _Group(stack)
    progress("warming up")
    client.closed(IN_FLIGHT, WARM_UP)
    steady = client.paced(RATE, WARM_UP_S)
    found: dict[str, list[float]] = {"steady": steady[len(steady) // 2 :], "join": [], "leave": []}
    try:
        for turn in range(turns):
            progress(f"turn {turn + 1} of {turns}: a router leaves, and joins")
            for kind, event, size in (("leave", second.ask_to_stop, 1), ("join", second.start, 2)):
                found[kind] += _around(client, event)
                group.wait_for(size)
                client.paced(RATE, SETTLE_S)
    finally:
        group.close()
    not_ok = sum(number for outcome, number in client.outcomes.items() if outcome != "ok")
    out = {f"{kind}_p99_ms": float(np.percentile(waits, 99)) for kind, waits in found.items()}
    out |= {f"{kind}_longest_ms": max(waits) for kind, waits in found.items()}
    return {key: round(value, 2) for key, value in out.items()} | {"members_not_ok": not_ok}


def _around(client: PlainClient, event: Callable[[], None]) -> list[float]:
    """Answers to what is sent in the seconds around an event, ms each."""
    timer = threading.Timer(BEFORE_S, event)
    timer.start()
    waits = client.paced(RATE, AROUND_S)
    timer.join()
    return waits


class _Group:
    """How many routers share the queries."""

    def __init__(self, stack: Stack) -> None:
        self._admin, self._name = Admin(stack.settings, client_id="members"), stack.settings.names.group(ROUTER_GROUP)

    def wait_for(self, size: int) -> None:
        """Until there are so many.

        Raises:
            InfaasError: there are others for long.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (found := len(self._admin.group_members(self._name))) != size:
            if time.monotonic() > deadline:
                raise InfaasError(f"{self._name}: {found} members, not {size}, after {PATIENCE_S:g} s")
            time.sleep(0.1)

    def close(self) -> None:
        """Leaves."""
        self._admin.close()
