"""The metadata store on real Kafka: claims, epochs, ignored records, tombstones, boot ids, read-back."""

import time

import pytest
from refusing import refuse_once

from infaas.bus.outbox import Outbox
from infaas.schemas.errors import Fenced
from infaas.schemas.headers import EPOCH, epoch_headers
from infaas.schemas.metadata import Hardware, Instance, Placement, Worker, encode
from infaas.schemas.topics import METADATA
from infaas.store.facts import FactWriter
from infaas.store.leadership import Leadership
from infaas.store.table import Change, Table


class Candidate:
    """A table, an outbox and a leadership, as a service has them."""

    def __init__(self, settings, name, role="scaler"):
        self.outbox = Outbox(settings, client_id=name)
        self.table = Table(settings, client_id=name)
        self.table.open()
        self.lead = Leadership(settings, role=role, table=self.table, outbox=self.outbox)

    def step(self):
        self.table.poll(0.01)
        self.outbox.poll(0)
        self.lead.step()

    def close(self):
        self.table.close()
        self.outbox.close()


@pytest.fixture
def history(settings):
    """Everything written to the store since the test began."""
    table, seen = Table(settings, client_id="history"), []
    table.open()

    def read():
        while changes := table.poll(0.2):
            seen.extend(changes)
        return seen

    yield read
    table.close()


@pytest.fixture
def candidate(settings):
    made = []

    def make(name, role="scaler"):
        made.append(Candidate(settings, name, role))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(true, *candidates, timeout=20.0):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        for one in candidates:
            one.step()


def placement(instances):
    return Placement(worker="w", variant="a.v1.onnxruntime-cpu1-fp32", instances=instances)


def fresh(settings):
    table = Table(settings, client_id="fresh")
    table.open()
    try:
        return table.view()
    finally:
        table.close()


def test_only_a_leader_writes_and_its_epoch_is_the_offset_of_its_claim(settings, candidate):
    one = candidate("one")
    with pytest.raises(Fenced):
        one.lead.write(placement(1))
    run(lambda: one.lead.is_leader, one)
    assert one.lead.epoch == one.table.epochs["scaler"]
    one.lead.write(placement(1))
    run(lambda: one.table.view().placements, one)
    assert fresh(settings).records == one.table.view().records


def test_a_deposed_leader_is_ignored_and_its_records_are_written_over(settings, candidate, history):
    old, new = candidate("old"), candidate("new")
    run(lambda: old.lead.is_leader, old)
    old.lead.write(placement(1))
    run(lambda: new.table.view().placements, old, new)
    run(lambda: new.lead.is_leader, new)  # `old` stands still meanwhile, as a frozen process does
    old.lead.write(placement(7))
    old.lead.delete(placement(0).key)
    old.outbox.flush(10)
    run(lambda: not old.lead.is_leader, old)
    run(lambda: not new.table.dirty["scaler"] and new.table.poll(0.1) == [], new, old)
    (kept,) = new.table.view().placements.values()
    assert kept.instances == 1
    assert fresh(settings).records == new.table.view().records == old.table.view().records
    last = [change for change in history() if change.key == placement(0).key][-1]
    assert not last.ignored, "compaction keeps the last record: it has to be a valid one"


def test_a_key_that_only_a_deposed_leader_wrote_gets_a_tombstone(settings, candidate, history):
    old, new = candidate("old"), candidate("new")
    run(lambda: old.lead.is_leader, old)
    run(lambda: new.lead.is_leader, new)
    old.lead.write(placement(7))
    old.outbox.flush(10)
    run(lambda: placement(0).key in [c.key for c in history() if c.record is None], new)
    assert not fresh(settings).placements


def test_records_without_an_epoch_are_ignored_once_somebody_leads(settings, candidate):
    one = candidate("one")
    run(lambda: one.lead.is_leader, one)
    one.outbox.send(
        settings.names.of(METADATA), key=placement(3).key, value=encode(placement(3)), headers=epoch_headers(-1)
    )
    one.outbox.send(settings.names.of(METADATA), key=placement(3).key, value=encode(placement(3)))
    one.outbox.flush(10)
    run(lambda: not one.table.dirty["scaler"] and one.table.poll(0.1) == [], one)
    assert not one.table.view().placements


def test_facts_of_an_earlier_life_are_void(settings, candidate):
    one = candidate("one")
    worker = Worker(
        worker="w", boot_id="2", machine_type="local-1", hardware=Hardware(cores=1, memory_bytes=1), price_per_hour=0.1
    )
    fact = Instance(worker="w", boot_id="2", variant="v", instance=0, state="active", taken=(0,))
    now, before = FactWriter(one.outbox, settings, "2"), FactWriter(one.outbox, settings, "1")
    now.write(worker)
    now.write(fact)
    before.write(worker.model_copy(update={"boot_id": "1"}))
    before.write(fact.model_copy(update={"boot_id": "1", "taken": (1, 2)}))
    before.delete(fact.key)
    one.outbox.flush(10)
    end = one.table.view().offset + 5
    run(lambda: one.table.view().offset >= end, one)
    view = one.table.view()
    assert view.workers["w"].boot_id == "2"
    assert view.instances["w", "v", 0].taken == (0,)
    assert [i.instance for i in view.holders("v", 0)] == [0]


def test_an_unreadable_record_is_passed_over(settings, candidate):
    one = candidate("one")
    one.outbox.send_and_wait(settings.names.of(METADATA), key="worker/w", value=b"{")
    run(lambda: one.table.view().offset >= 1, one)
    assert not one.table.view().workers


class Days:
    """A clock that a test sets."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s

    def pass_by(self, days):
        self.now_s += days * 86_400.0


def lives(worker, boot_id="1"):
    hardware = Hardware(cores=1, memory_bytes=1)
    return Worker(worker=worker, boot_id=boot_id, machine_type="local-1", hardware=hardware, price_per_hour=0.1)


def test_a_table_that_slept_longer_than_tombstones_are_kept_is_read_again(settings, candidate):
    days, one = Days(), candidate("one")
    table = Table(settings, client_id="sleeper", clock=days)
    table.open()
    facts = FactWriter(one.outbox, settings, "1")
    facts.write(lives("a"))
    facts.write(lives("b"))
    one.outbox.flush(10)
    deadline = time.monotonic() + 20
    while len(table.view().workers) < 2:
        assert time.monotonic() < deadline
        table.poll(0.05)
    # What a sleeper missed: a tombstone has come and gone, and nothing in the topic tells of it any more.
    table._picture.apply(Change(table.view().offset, "worker/gone", lives("gone"), "1", ignored=False))
    before = table.view()
    assert "gone" in before.workers
    days.pass_by(7)
    assert table.poll(0.05) == []
    assert set(table.view().workers) == {"a", "b"}
    assert table.view().catalogue_version > before.catalogue_version
    table.close()


def test_a_table_that_follows_is_never_read_again(settings, candidate):
    days, one = Days(), candidate("one")
    table = Table(settings, client_id="follower", clock=days)
    table.open()
    version = table.view().catalogue_version
    facts = FactWriter(one.outbox, settings, "1")
    for n in range(30):
        days.pass_by(1)
        facts.write(lives(f"w{n}"))
        one.outbox.flush(10)
        deadline = time.monotonic() + 20
        while len(table.view().workers) <= n:
            assert time.monotonic() < deadline
            table.poll(0.05)
    assert table.view().catalogue_version == version
    table.close()


def test_a_strange_epoch_stops_no_reader(settings, candidate):
    one = candidate("one")
    run(lambda: one.lead.is_leader, one)
    topic = settings.names.of(METADATA)
    for epoch in ("\u00b2".encode(), b"9" * 10_000, b"-1", b"", b"\xff"):
        one.outbox.send(topic, key=placement(3).key, value=encode(placement(3)), headers=[(EPOCH, epoch)])
    one.outbox.flush(10)
    assert not fresh(settings).placements
    run(lambda: not one.table.dirty["scaler"] and one.table.poll(0.1) == [], one)
    assert not one.table.view().placements


def test_a_record_under_another_key_than_its_own_is_ignored(settings, candidate):
    one = candidate("one")
    one.outbox.send_and_wait(settings.names.of(METADATA), key="worker/other", value=encode(lives("w")))
    run(lambda: one.table.view().offset >= 1, one)
    assert not one.table.view().workers


def test_a_repair_that_is_not_confirmed_is_written_again_though_nothing_else_is(settings, candidate):
    old, new = candidate("old"), candidate("new")
    run(lambda: old.lead.is_leader, old)
    old.lead.write(placement(1))
    run(lambda: new.table.view().placements, old, new)
    run(lambda: new.lead.is_leader, new)
    refused = refuse_once(new.outbox, placement(0).key)
    old.lead.write(placement(7))
    old.outbox.flush(10)
    run(lambda: refused and not new.table.dirty["scaler"], new)
    (kept,) = fresh(settings).placements.values()
    assert kept.instances == 1
