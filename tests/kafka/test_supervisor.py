"""A supervisor on real Kafka: what is so is written until it stands there, under boot ids that are ordered, whatever dies."""

import resource
import time

import onnx
import psutil
import pytest
from cell import VARIANT, Cell, doubling_model, outcome
from processes import freeze
from serving import ALL, active, assign, fact, held, router, serving_cell, state, supervisor

from infaas.bus.outbox import Outbox
from infaas.bus.repository import Repository
from infaas.host.child import Child
from infaas.host.deadlines import SILENCE_S
from infaas.schemas.errors import Fenced
from infaas.schemas.metadata import Hardware, Instance, Verdict, Worker
from infaas.store.boot import next_boot_id
from infaas.store.facts import FactWriter
from infaas.workers import supervisor as module
from infaas.workers.crashes import CRASHES

MIB = 1024 * 1024


@pytest.fixture
def cell(settings, environment):
    with serving_cell(settings) as cell:
        yield cell


def ask(cell, tag):
    cell.send(tag, application="numbers", latency_ms=60_000)
    assert outcome(cell.answer(tag)) == "ok"


def earlier_life(cell, boot_id, *, number=7):
    """What a supervisor of the same name has left."""
    writer = FactWriter(cell.outbox, cell.settings, boot_id)
    hardware = Hardware(cores=1, memory_bytes=1)
    writer.write(Worker(worker="w1", boot_id=boot_id, machine_type="m", hardware=hardware, price_per_hour=0.1))
    writer.write(Instance(worker="w1", boot_id=boot_id, variant=VARIANT, instance=number, state="active", taken=ALL))
    cell.outbox.flush(10)


def test_a_fact_that_was_lost_while_the_broker_was_away_is_written_again(broker, hasty, environment, monkeypatch):
    monkeypatch.setenv("INFAAS_BOOTSTRAP_SERVERS", hasty.bootstrap_servers)
    with serving_cell(hasty) as cell:
        worker = supervisor(cell)
        active(cell, worker)
        assign(cell, worker)
        cell.outbox.flush(10)
        # The supervisor reads the assignment and writes that it takes, when nobody answers any more.
        running = worker._running[VARIANT, 0]
        while not worker._table.view().assignments:
            worker._table.poll(0.01)
        broker.kill()
        deadline = time.monotonic() + 20.0
        while not worker._facts.failed:
            assert time.monotonic() < deadline
            worker.step()
        assert set(running.ownership.holding.values()) == {"taking"}
        broker.restart()
        held(cell, worker)
        cell.until(lambda: set(running.ownership.holding.values()) == {"held"}, "the child to have them")
        router(cell)
        ask(cell, "after")


def test_a_fact_whose_delivery_failed_is_written_again_before_the_next_comparison(
    broker, hasty, environment, monkeypatch
):
    cell = Cell(hasty)
    worker = supervisor(cell)
    cell.until(lambda: worker._born_seen and "w1" in cell.table.view().workers, "its birth")
    monkeypatch.setattr(module, "COMPARE_EVERY_S", 1e6)
    worker._next_compare = 0.0
    worker.step()
    broker.kill()
    worker._facts.write(worker._record.model_copy(update={"price_per_hour": 7.0}))
    deadline = time.monotonic() + 10.0
    while not worker._facts.failed:
        assert time.monotonic() < deadline
        worker._outbox.poll(0.01)
    broker.restart()
    cell.until(lambda: cell.table.view().workers["w1"].price_per_hour == 7.0, "the fact", 30.0)
    worker.close()
    cell.close()


def test_an_idle_instance_that_hangs_is_killed_and_what_it_had_is_taken_again(cell):
    worker = supervisor(cell)
    active(cell, worker)
    assign(cell, worker)
    held(cell, worker)
    router(cell)
    ask(cell, "before")
    hung = worker._running[VARIANT, 0].child.pid
    freeze(hung)
    since_s = time.monotonic()
    cell.send("during", application="numbers", latency_ms=60_000)
    cell.until(lambda: not psutil.pid_exists(hung), "its end", SILENCE_S + 5.0)
    assert time.monotonic() - since_s > SILENCE_S - 1.0
    assert outcome(cell.answer("during")) == "ok"
    held(cell, worker)


def test_a_full_disk_is_a_reason_that_is_said_and_passes(cell):
    model = onnx.load_from_string(doubling_model())
    model.doc_string = "x" * (2 * MIB)
    digest = Repository().put(model.SerializeToString())
    cell.publish(digest)
    cell.until(
        lambda: (v := cell.table.view().variants.get(VARIANT)) and v.artifact_digest == digest, "the large artifact"
    )
    worker = supervisor(cell)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))  # as on a disk that is full from there on
    try:
        cell.place(worker.name, 1)
        cell.until(lambda: (VARIANT, 0) in worker._running, "the start")
        running = worker._running[VARIANT, 0]
        cell.until(lambda: running._backoff.failures > CRASHES, "more tries than crashes that count")
        cell.until(lambda: "no room" in (((record := fact(cell, "w1")) and record.reason) or ""), "the reason")
        assert state(cell, "w1") == "starting"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    cell.until(lambda: state(cell, "w1") == "active", "room, and an active instance")
    assert fact(cell, "w1").reason == ""


def test_an_instance_has_a_limit_of_memory_that_it_does_not_come_near(cell):
    worker = supervisor(cell)
    active(cell, worker)
    assign(cell, worker)
    held(cell, worker)
    child = psutil.Process(worker._running[VARIANT, 0].child.pid)
    limit, _ = child.rlimit(psutil.RLIMIT_DATA)
    assert 0 < limit < psutil.virtual_memory().total
    print("VmData", child.memory_info().data, "rss", child.memory_info().rss, "limit", limit)
    assert child.memory_info().data < limit / 2


def test_an_instance_that_hangs_while_its_supervisor_stops_is_killed_and_its_facts_are_written(cell, monkeypatch):
    worker = supervisor(cell)
    active(cell, worker)
    assign(cell, worker)
    held(cell, worker)
    monkeypatch.setattr(module, "RELEASE_S", 0.5)
    freeze(worker._running[VARIANT, 0].child.pid)
    cell.others.remove(worker)
    worker.close()
    cell.until(lambda: cell.table.view().workers["w1"].state == "stopped", "that it has stopped")
    assert cell.table.view().holders(VARIANT, 0) == [], "a successor need not wait for a verdict"


@pytest.mark.parametrize(
    "before",
    ["03bb2cc3-d800-7000-8000-000000000000", next_boot_id(["b000000000041-00000000"])],
    ids=["made by a clock in 2100 that has stepped back since", "counted"],
)
def test_a_new_boot_id_is_above_all_that_were_there(cell, before):
    earlier_life(cell, before)
    worker = supervisor(cell)
    assert worker.boot_id > before
    cell.until(
        lambda: "w1" in (now := cell.table.view().live_workers) and now["w1"].boot_id == worker.boot_id, "the new life"
    )
    active(cell, worker)


def test_a_boot_id_is_above_that_of_a_verdict_alone(cell):
    cell.lead["scaler"].write(Verdict(worker="w1", boot_id="b000000000009-00000000"))
    cell.until(lambda: "w1" in cell.table.view().verdicts, "the verdict")
    assert supervisor(cell).boot_id > "b000000000009-00000000"


def test_what_an_earlier_life_has_left_goes(cell):
    earlier_life(cell, next_boot_id([]))
    supervisor(cell)
    key = f"instance/w1/{VARIANT}/7"
    cell.until(lambda: cell.table.view().get(key) is None, "the tombstone")


def test_who_finds_its_record_gone_returns_with_a_new_boot_id(cell):
    worker = supervisor(cell)
    cell.until(lambda: worker._born_seen, "its birth")
    before = worker.boot_id
    FactWriter(cell.outbox, cell.settings, before).delete("worker/w1")
    cell.until(lambda: worker.boot_id > before and "w1" in cell.table.view().live_workers, "the new life")


def test_a_newer_life_under_any_of_its_keys_ends_it(cell):
    worker = supervisor(cell)
    cell.until(lambda: worker._born_seen, "its birth")
    cell.others.remove(worker)
    newer = FactWriter(cell.outbox, cell.settings, next_boot_id([worker.boot_id]))
    newer.write(Instance(worker="w1", boot_id=newer.boot_id, variant=VARIANT, instance=0, state="active"))
    cell.outbox.flush(10)
    with pytest.raises(Fenced):  # noqa: PT012 - it notices when it reads the record
        for _ in range(1000):
            worker.step()
    worker.abandon()


def test_an_older_life_that_writes_late_is_written_over(cell, settings):
    worker = supervisor(cell)
    active(cell, worker)
    older = "b000000000000-00000000"
    late = Outbox(settings, client_id="late")
    writer = FactWriter(late, settings, older)
    for number in (0, 3):  # one that runs, one that does not
        writer.write(Instance(worker="w1", boot_id=older, variant=VARIANT, instance=number, state="active", taken=ALL))
    late.close()
    seen = []
    read, poll = cell.table.poll, lambda timeout=0.0: seen.extend(changes := read(timeout)) or changes
    cell.table.poll = poll
    keys = {f"instance/w1/{VARIANT}/{number}" for number in (0, 3)}

    def repaired():
        last = {change.key: change.writer for change in seen}
        return all(last.get(key) == worker.boot_id for key in keys)

    cell.until(repaired, "both keys to be ours again")
    assert state(cell, "w1") == "active"


def test_one_placement_that_cannot_be_started_stops_nothing_else(cell, monkeypatch):
    broken = "broken.v1.onnxruntime-cpu1-fp32"
    made = []

    def child(**more):
        made.append(more["order"].variant.variant)
        if made[-1] == broken:
            raise ValueError("no process can be made of this")
        return Child(**more)

    monkeypatch.setattr(module, "Child", child)
    cell.publish("sha256:" + "0" * 64, broken)
    worker = supervisor(cell, cores=2)  # one that can't be started keeps its core: it is tried again
    cell.place(worker.name, 1, broken)
    active(cell, worker)
    assert broken in made


def test_what_goes_wrong_with_one_instance_ends_neither_the_supervisor_nor_another(cell):
    broken = "broken.v1.onnxruntime-cpu1-fp32"
    cell.publish(Repository().put(doubling_model()), broken)
    worker = supervisor(cell, cores=2)
    cell.place(worker.name, 1, broken)
    active(cell, worker)
    cell.until(lambda: (broken, 0) in worker._running, "the other instance")
    unlucky, calls = worker._running[broken, 0], []

    def fail(*_, **__):
        calls.append(unlucky.child and unlucky.child.pid)
        raise KeyError("broken")

    unlucky.step = fail
    cell.until(lambda: len(calls) > 2, "it to be looked after again")
    del unlucky.step
    assert not any(psutil.pid_exists(pid) for pid in calls if pid)
    assert "KeyError" in unlucky.reason
    assign(cell, worker)
    held(cell, worker)
