"""Real processes, real models, one after the other on one cell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from infaas.bench.model import Network
from infaas.bench.own_stack import own_stack
from infaas.bench.registered import body, registered
from infaas.bench.worker import usage
from infaas.bench.worker.caller import Caller
from infaas.bench.worker.moves import Moves
from infaas.bench.worker.office import Office
from infaas.bench.worker.overload import overload
from infaas.cli.console import progress
from infaas.cli.stack import Service, Shape, Stack
from infaas.client import Client
from infaas.policy.capacity import capacity
from infaas.schemas.metadata import Variant

REST_S, IDLE_S = 5.0, 20.0
CALM_S = 20.0
"""Until the broker's compiler has dealt with what the load before has left it."""
WORKER, CROWD = "worker-1", "worker-2"
PLACED, RUNNING = 100, 10
CROWD_S = 8.0
READY_S = 60.0
QUICK, SLOW = "quick", "slow"


def worker() -> dict[str, float]:
    """Measures; in all some three minutes."""
    with own_stack(Shape(workers=1, cores=2, idle_s=3600)) as stack:
        out = _overload(stack, registered(stack, SLOW, Network.slow()))
        _unregister(stack, SLOW)
        quick = registered(stack, QUICK, Network.of())
        out |= _idle(stack)  # by now the broker has compiled what it runs all the time
        with _office(stack) as office:
            out |= _moves(stack, office, quick)
            out |= _crowd(stack, office, quick)
    return {key: round(value, 4) for key, value in out.items()}


def _unregister(stack: Stack, name: str) -> None:
    with Client(stack.settings, repository_url=stack.repository_url) as client:
        client.unregister(name)
    deadline = time.monotonic() + READY_S
    while stack.view().variants and time.monotonic() < deadline:
        time.sleep(0.05)


def _idle(stack: Stack) -> dict[str, float]:
    progress(f"an idle cell with one instance, {IDLE_S:g} s")
    usage.instance_of(stack, WORKER)
    time.sleep(CALM_S)
    parts = usage.cores(usage.parts(stack), IDLE_S)
    return {
        "idle_cores": sum(parts.values()),
        **{f"idle_{name.replace(' ', '_')}": part for name, part in parts.items()},
    }


def _overload(stack: Stack, slow: Variant) -> dict[str, float]:
    progress("twice the load that is borne")
    assert slow.profile is not None
    assignment = stack.view().assignments[slow.variant]
    partitions = range(len(assignment.partitions))
    caller = Caller(stack.settings, variant=slow.variant, value=body())
    try:
        return overload(caller, partitions=partitions, capacity=capacity(slow.profile, None))
    finally:
        caller.close()


@contextmanager
def _office(stack: Stack) -> Iterator[Office]:
    """From here on we decide."""
    for name in ("scaler", "registrar"):
        service = stack.services.pop(name)
        service.ask_to_stop()
        service.join(time.monotonic() + READY_S)
    office = Office(stack.settings)
    try:
        yield office
    finally:
        office.close()


def _moves(stack: Stack, office: Office, quick: Variant) -> dict[str, float]:
    for where in list(office.view.placements):
        office.place(*where, 0)
    office.until(lambda: not office.view.instances, "an empty worker")
    caller = Caller(stack.settings, variant=quick.variant, value=body())
    moves = Moves(office, caller, worker=WORKER, variant=quick)
    try:
        progress("cold starts")
        out = moves.cold_starts()
        out |= usage.beyond_model_mb(usage.instance_of(stack, WORKER), stack.data_dir / f"{QUICK}.onnx")
        progress("hand-overs under load")
        out |= moves.hand_overs()
        moves.stop_all()
    finally:
        caller.close()
    return out


def _crowd(stack: Stack, office: Office, quick: Variant) -> dict[str, float]:
    """A supervisor with as many placements as run, then with ten times as many that have no room."""
    progress(f"a supervisor with {RUNNING} placements, then {PLACED}")
    neighbour = stack.services[WORKER]
    own = {"INFAAS_WORKER_NAME": CROWD, "INFAAS_WORKER_CORES": str(RUNNING)}
    service = Service(
        CROWD, neighbour.module, {**neighbour.environment, **own}, stack.data_dir / "logs" / f"{CROWD}.log"
    )
    stack.services[CROWD] = service
    service.start()
    office.until(lambda: CROWD in office.view.live_workers, "the second worker")
    names = [quick.variant.replace(QUICK, f"crowd-{number}", 1) for number in range(PLACED)]
    out = {}
    placed = 0
    for count in (RUNNING, PLACED):
        for name in names[placed:count]:
            office.publish(quick.model_copy(update={"variant": name, "architecture": QUICK}))
            office.place(CROWD, name, 1)
        placed = count
        office.until(lambda: _active(office) >= RUNNING, "ten instances")
        time.sleep(REST_S)
        out[f"supervisor_cores_{count}"] = usage.cores({CROWD: psutil.Process(service.pid)}, CROWD_S)[CROWD]
    return out


def _active(office: Office) -> int:
    return sum(fact.state == "active" and fact.worker == CROWD for fact in office.view.instances.values())
