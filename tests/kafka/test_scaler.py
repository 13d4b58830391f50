"""The scaler on real Kafka with real workers: it starts, spreads, moves, stops, returns; two of them do no harm."""

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest
from cell import VARIANT, Cell, doubling_model, outcome, profile, reason
from processes import freeze

from infaas.bus.admin import Admin
from infaas.bus.repository import Repository
from infaas.bus.span import SpanReader
from infaas.bus.telemetry import TelemetryReader
from infaas.router.loop import Router
from infaas.router.settings import RouterSettings
from infaas.scaler.greedy import best_fleet
from infaas.scaler.liveness import AFTER_TAKEOVER_S
from infaas.scaler.loop import Scaler
from infaas.scaler.settings import ScalerSettings
from infaas.schemas.headers import ReplyAddress, Travel, parse_travel, travel_headers
from infaas.schemas.metadata import Owner
from infaas.schemas.reports import Tick
from infaas.schemas.topics import REPLIES, RETURNS
from infaas.store.table import Table
from infaas.workers.settings import WorkerSettings
from infaas.workers.supervisor import Supervisor

OTHER = "twice.v1.onnxruntime-cpu1-fp32"


@pytest.fixture
def cell(settings, environment):
    one = Cell(settings, roles=("registrar",))
    one.digest = Repository().put(doubling_model())
    admin = Admin(settings, client_id="test")
    for variant in (VARIANT, OTHER):
        admin.ensure_variant_topics(variant)
    one.admin = admin
    yield one
    for other in reversed(one.others):
        other.close()
    one.close()
    admin.close()


def with_services(cell, *, workers=1, cores=2, **own):
    cell.others.append(Scaler(settings=cell.settings, own=ScalerSettings(**own)))
    cell.others.append(Router(settings=cell.settings, own=RouterSettings()))
    for n in range(workers):
        cell.others.append(Supervisor(settings=cell.settings, own=WorkerSettings(name=f"w{n}", cores=cores)))
    cell.until(lambda: len(cell.table.view().live_workers) == workers, "the workers")


def states(cell, variant=VARIANT):
    return sorted(i.state for i in cell.table.view().instances_of.get(variant, ()))


def owners(cell, variant=VARIANT):
    assignment = cell.table.view().assignments.get(variant)
    return [] if assignment is None else [one.owner for one in assignment.partitions]


class StateHistory:
    """All states that instances of a variant have been in: what has failed may be cleared away before anybody looks."""

    def __init__(self, cell, variant=VARIANT):
        self._cell, self._variant, self.states = cell, variant, set()

    def step(self):
        self.states.update(states(self._cell, self._variant))

    def close(self):
        pass


def test_a_cold_query_starts_an_instance_and_idleness_stops_it(cell):
    cell.publish(cell.digest)
    with_services(cell, idle_s=1)
    cell.send("cold", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("cold")) == "ok"
    cell.send("warm", application="numbers", latency_ms=5_000)
    assert outcome(cell.answer("warm")) == "ok"
    cell.until(lambda: states(cell) == [] and not any(owners(cell)), "scale to zero")
    cell.send("again", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("again")) == "ok"


def test_load_above_one_instance_is_spread_over_two(cell):
    cell.publish(
        cell.digest, found=profile(20.0)
    )  # 1/20 ms: 50 queries/s an instance: only single queries make the objective
    with_services(cell, workers=2)
    begun, sent = time.monotonic(), 0

    def two():
        nonlocal sent
        while sent < (time.monotonic() - begun) * 120:
            cell.send(f"q{sent}", application="numbers", latency_ms=60)
            sent += 1
        return len({o and (o.worker, o.instance) for o in owners(cell)}) >= 2 and states(cell)[:2] == ["active"] * 2

    cell.until(two, "two instances with partitions")
    cell.until(lambda: len(cell.answers) == sent, "all answers")


def test_what_no_worker_can_run_is_returned_and_answered_by_another_variant(cell):
    cell.publish(
        "sha256:" + "f" * 64, found=profile(load_ms=1)
    )  # its artifact is nowhere: it crashes until it has failed
    cell.publish(cell.digest, found=profile(load_ms=5_000), variant=OTHER)
    with_services(cell)
    history = StateHistory(cell)
    cell.others.append(history)
    cell.send("q", application="numbers", latency_ms=120_000)
    cell.send("named", variant=VARIANT, latency_ms=60_000)
    record = cell.answer("q", 120)
    assert (outcome(record), record.header_map["infaas-served-variant"]) == ("ok", OTHER.encode())
    refused = cell.answer("named")
    assert (outcome(refused), reason(refused)) == ("rejected", "no_variant")
    assert "failed" in history.states, "it was given up, not merely slow"
    assert "active" not in history.states


def test_a_silent_worker_is_pronounced_dead_and_its_work_done_elsewhere(cell):
    cell.publish(cell.digest)
    with_services(cell, workers=3, silence_s=1.5)
    cell.send("a", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("a")) == "ok"
    cell.until(lambda: states(cell) == ["active"] and all(owners(cell)), "owners")
    name = owners(cell)[0].worker
    frozen = next(one for one in cell.others if getattr(one, "name", "") == name)
    cell.others.remove(frozen)  # it is not stepped any more: silent, its instance alive
    for child in list(frozen._running.values()):
        freeze(child.child.pid)
    cell.send("b", application="numbers", latency_ms=120_000)
    assert outcome(cell.answer("b")) == "ok"
    assert name in cell.table.view().verdicts
    assert owners(cell)[0].worker != name
    cell.others.append(frozen)
    for child in list(frozen._running.values()):
        os.kill(child.child.pid, signal.SIGCONT)
    before = cell.table.view().verdicts[name].boot_id
    cell.until(lambda: cell.table.view().live_workers.get(name) is not None, "it comes back under a new boot id")
    assert cell.table.view().live_workers[name].boot_id > before


def test_a_variant_that_is_retired_is_emptied_and_its_topics_deleted(cell):
    record = cell.publish(cell.digest)
    with_services(cell)
    cell.send("a", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("a")) == "ok"
    for n in range(50):
        cell.send(f"q{n}", application="numbers", latency_ms=60_000)
    cell.lead["registrar"].write(record.model_copy(update={"state": "retired"}))
    cell.until(lambda: len(cell.answers) == 51, "an answer to each")
    topic = cell.settings.names.work(VARIANT)
    cell.until(lambda: topic not in cell.admin.topics(), "the topic to be gone")
    cell.send("late", variant=VARIANT)
    assert outcome(cell.answer("late")) == "rejected"


def test_work_committed_is_deleted_and_nothing_else(cell, monkeypatch):
    from infaas.scaler import upkeep

    monkeypatch.setattr(upkeep, "RETAIN_S", 0.2)
    cell.publish(cell.digest)
    with_services(cell)
    for n in range(20):
        cell.send(f"q{n}", application="numbers", latency_ms=60_000)
    cell.until(lambda: len(cell.answers) == 20, "answers")
    topic = cell.settings.names.work(VARIANT)
    cell.until(
        lambda: sum(low for low, _ in cell.admin.watermarks({topic: 4}).values()) == 20,
        "deletion below what is committed",
    )


@contextmanager
def scaler_processes(cell, *names):
    """Scalers as they run in earnest, the first of them leading."""
    processes = []
    try:
        for name in names:
            environment = {**os.environ, "INFAAS_SCALER_NAME": name, "INFAAS_PARENT_PID": str(os.getpid())}
            processes.append(subprocess.Popen([sys.executable, "-m", "infaas.scaler"], env=environment))
            cell.until(lambda: cell.table.epochs.get("scaler", -1) >= 0, "a leader")
        yield processes
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            process.wait(20)


def test_of_two_scalers_a_frozen_one_that_wakes_up_changes_nothing(cell):
    """The old leader is stopped (SIGSTOP), the new one claims, the old one wakes up with writes in its queue."""
    cell.publish(cell.digest)
    for n in range(2):
        cell.others.append(Supervisor(settings=cell.settings, own=WorkerSettings(name=f"w{n}", cores=2)))
    cell.others.append(Router(settings=cell.settings, own=RouterSettings()))
    with scaler_processes(cell, "one", "two") as (leader, _):
        first = cell.table.epochs["scaler"]
        cell.send("a", application="numbers", latency_ms=60_000)
        assert outcome(cell.answer("a")) == "ok"
        freeze(leader.pid)
        cell.until(lambda: cell.table.epochs["scaler"] > first, "the other to claim")
        second = cell.table.epochs["scaler"]
        cell.send("b", application="numbers", latency_ms=60_000)
        assert outcome(cell.answer("b")) == "ok"
        os.kill(leader.pid, signal.SIGCONT)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            cell.send(f"c{time.monotonic()}", application="numbers", latency_ms=60_000)
            cell.step()
        assert cell.table.epochs["scaler"] == second, "the woken one stays a standby"
        cell.until(lambda: not cell.table.dirty["scaler"], "repair of what it overwrote")
        fresh = Table(cell.settings, client_id="fresh")
        fresh.open()
        try:
            cell.until(
                lambda: fresh.poll(0) is not None and fresh.view().offset == cell.table.view().offset, "one offset"
            )
            assert dict(fresh.view().records) == dict(cell.table.view().records)
        finally:
            fresh.close()


def test_a_worker_that_stops_in_order_needs_no_verdict(cell):
    cell.publish(cell.digest)
    with_services(cell, workers=2)
    cell.send("a", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("a")) == "ok"
    name = owners(cell)[0].worker
    leaving = next(one for one in cell.others if getattr(one, "name", "") == name)
    cell.others.remove(leaving)
    leaving.close()
    cell.send("b", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("b")) == "ok"
    assert all(isinstance(o, Owner) and o.worker != name for o in owners(cell))
    assert name not in cell.table.view().verdicts


def test_a_machine_is_started_when_nothing_fits_and_stopped_when_it_can_be_spared(cell, monkeypatch):
    """Two variants, a worker with one core: the second one needs a machine of the local provisioner."""
    from infaas.scaler import machines

    monkeypatch.setattr(machines, "QUIET_S", 1.0)
    monkeypatch.setenv("INFAAS_OWNER_PID", str(os.getpid()))
    cell.publish(cell.digest)
    cell.publish(cell.digest, variant=OTHER)
    with_services(cell, cores=1, idle_s=1, provisioner="local", max_machines=1, machine_cores=1)
    served(cell, VARIANT, OTHER)
    cell.until(lambda: "local-1" in cell.table.view().live_workers, "the machine's worker")
    (pid,) = [int(m.provider_id.split(":")[0]) for m in cell.table.view().machines.values()]
    assert psutil.pid_exists(pid)
    cell.until(lambda: not cell.table.view().machines, "the machine to be given back", 120)
    assert not psutil.pid_exists(pid)


def served(cell, *variants):
    """Asks all of them again and again, as callers do, until each has answered: what waits for a machine is returned."""
    waiting, next_at = set(variants), 0.0

    def asked():
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + 0.5
            for variant in variants:
                cell.send(f"{variant} {next_at}", variant=variant, latency_ms=100_000)
        done = {tag.split()[0] for tag, answers in cell.answers.items() if outcome(answers[0]) == "ok"}
        return not waiting - done

    cell.answers.clear()
    cell.until(asked, f"answers of {variants}", 120)


def test_a_machine_that_is_killed_is_replaced(cell, monkeypatch):
    """The only worker there is without it is full, so that what runs on the machine needs another."""
    from infaas.scaler import machines

    monkeypatch.setattr(machines, "QUIET_S", 2.0)
    monkeypatch.setenv("INFAAS_OWNER_PID", str(os.getpid()))
    cell.publish(cell.digest)
    cell.publish(cell.digest, variant=OTHER)
    with_services(cell, cores=1, idle_s=2, provisioner="local", max_machines=1, machine_cores=1)
    served(cell, VARIANT, OTHER)
    first = cell.table.view().machines["local-1"].provider_id
    os.kill(int(first.split(":")[0]), signal.SIGKILL)

    def given_up():
        return first not in {m.provider_id for m in cell.table.view().machines.values()}

    cell.until(given_up, "the dead one to count no more")
    served(cell, VARIANT, OTHER)
    assert set(cell.table.view().workers) == {"w0", "local-1"}, "its name is used again"
    cell.until(lambda: not cell.table.view().machines, "the machine to be given back", 90)


def test_a_topic_grown_without_its_sister_is_made_good(cell):
    """A scaler dies between growing `work` and `offline`: an owner of a partition that one of them lacks crashes."""
    names = cell.settings.names
    grow_one(cell, names.work(VARIANT), 8)
    cell.publish(cell.digest)
    with_services(cell)
    cell.send("a", application="numbers", latency_ms=60_000)
    assert outcome(cell.answer("a")) == "ok"
    cell.until(lambda: len(owners(cell)) == 8 and all(owners(cell)), "an owner of every partition")
    assert cell.admin.topics()[names.offline(VARIANT)] == 8
    assert not any(i.died or i.state == "failed" for i in cell.table.view().instances.values())


def grow_one(cell, topic, partitions):
    from confluent_kafka.admin import AdminClient, NewPartitions

    client = AdminClient(cell.settings.common("grow"))
    client.create_partitions([NewPartitions(topic, partitions)])[topic].result()
    cell.until(lambda: cell.admin.topics()[topic] == partitions, "the partitions")


def test_a_decision_that_takes_long_delays_neither_ticks_nor_verdicts(cell):
    """Every decision takes 2 s: longer than a standby waits, and as long as it takes a worker to be missed."""
    begun = []

    def slow(classes, slack):
        begun.append(time.monotonic())
        time.sleep(1.0)  # twice a decision
        return best_fleet(classes, slack)

    cell.publish(cell.digest)
    scaler = Scaler(settings=cell.settings, own=ScalerSettings(silence_s=1.5), best=slow)
    others = [Supervisor(settings=cell.settings, own=WorkerSettings(name=f"w{n}", cores=1)) for n in range(3)]
    cell.others += [scaler, *others]
    telemetry = TelemetryReader(cell.settings, client_id="look", back_ms=0)
    ticks = []

    def hear():
        ticks.extend(at_ms for report, at_ms in telemetry.poll(0) if isinstance(report, Tick))
        return ticks

    try:
        cell.until(lambda: hear() and len(cell.table.view().live_workers) == 3 and len(begun) > 2, "decisions")
        epoch = cell.table.epochs["scaler"]
        cell.others.remove(others[0])  # silent from now on
        silent_at = time.monotonic()
        cell.until(lambda: hear() and "w0" in cell.table.view().verdicts, "the verdict", 20)
        took = time.monotonic() - silent_at
        assert cell.table.epochs["scaler"] == epoch, "nobody took over"
        assert took < 1.5 + AFTER_TAKEOVER_S + 1.5
        assert max(later - earlier for earlier, later in itertools.pairwise(ticks)) < 600
    finally:
        cell.others.append(others[0])
        telemetry.close()


def test_what_is_returned_keeps_what_travels_and_what_is_late_is_told_so(cell):
    """No router here: what is sent stands in the work topic as a router would have put it there, and nobody can run it."""
    cell.publish("sha256:" + "f" * 64)
    now_ms = cell.outbox.clock.now_ms()
    travel = Travel(
        query_id="queries-0-7",
        appended_ms=now_ms,
        deadline_ms=now_ms + 60_000,
        drop_after_ms=now_ms + 60_000,
        attempt=1,
        excluded=("other",),
        reply=ReplyAddress(cell.settings.names.of(REPLIES), cell.replies.partition),
    )
    late = replace(travel, query_id="queries-0-8", drop_after_ms=now_ms - 1)
    for one in (travel, late):
        headers = travel_headers(one, [("correlation-id", one.query_id.encode())])
        topic = cell.settings.names.work(VARIANT)
        cell.outbox.send(topic, key=one.query_id, value=b"body", headers=headers, partition=0)
    cell.others.append(Scaler(settings=cell.settings, own=ScalerSettings()))
    assert outcome(cell.answer(late.query_id)) == "expired"
    returns = cell.settings.names.of(RETURNS)
    cell.until(lambda: ends(cell, returns) == 1, "what is returned")
    reader = SpanReader(cell.settings, client_id="look")
    (record,) = [
        record
        for (_, p), (low, end) in cell.admin.watermarks({returns: 4}).items()
        for record in reader.read(returns, p, low, end)
    ]
    reader.close()
    assert (record.key, record.value) == (b"queries-0-7", b"body")
    found = parse_travel(record.header_map)
    assert found == replace(travel, attempt=2, excluded=("other", VARIANT))
    topic = cell.settings.names.work(VARIANT)
    cell.until(lambda: cell.admin.committed({topic: 1})[topic, 0].offset == 2, "both to be committed")


def ends(cell, topic):
    return sum(end for _, end in cell.admin.watermarks({topic: cell.admin.topics()[topic]}).values())


def test_a_topic_grows_when_there_are_more_instances_than_partitions(cell):
    cell.publish(cell.digest, found=profile(20.0))
    with_services(cell, workers=1, cores=8)
    begun, sent = time.monotonic(), 0

    def grown():
        nonlocal sent
        while sent < (time.monotonic() - begun) * 300:
            cell.send(f"q{sent}", application="numbers", latency_ms=60)
            sent += 1
        return len(owners(cell)) > 4 and all(owners(cell)) and len({o.instance for o in owners(cell)}) > 4

    cell.until(grown, "more than four owners")
    cell.until(lambda: len(cell.answers) == sent, "all answers")
    topic = cell.settings.names.work(VARIANT)
    assert cell.admin.topics()[topic] == len(owners(cell)) == 8
