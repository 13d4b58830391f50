"""One owner a partition: played through with supervisors that read the metadata topic late, and that die at any moment."""

from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from infaas.schemas import metadata
from infaas.schemas.metadata import Assignment, Hardware, Instance, Owner, Verdict, Worker, kind_of
from infaas.store.view import View
from infaas.workers.ownership import Ownership
from infaas.workers.poison import Death

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

NAME = "digits.v1.onnxruntime-cpu1-fp32"
PARTITIONS = 2
WORKERS = ("a", "b", "c")


def worker(name, boot_id):
    hardware = Hardware(cores=1, memory_bytes=1)
    return Worker(worker=name, boot_id=boot_id, machine_type="local", hardware=hardware, price_per_hour=0.1)


class Log:
    """The metadata topic: every prefix of it is somebody's view."""

    def __init__(self, *records):
        self.records = []
        self.views = [View(0, 0)]
        for record in records:
            self.write(record)

    def write(self, record):
        last, kind = self.views[-1], kind_of(record.key)
        kinds = {**last.kinds, kind: {**last.kinds.get(kind, {}), record.key: record}}
        self.records.append(record)
        self.views.append(View(len(self.records), 0, kinds))

    @property
    def now(self):
        return self.views[-1]

    def assign(self, partition, owner):
        """As the scaler does: who had it before is carried on."""
        before = self.now.assignments.get(NAME)
        parts = list(before.partitions if before else [metadata.Ownership()] * PARTITIONS)
        old = parts[partition]
        if old.owner != owner:
            parts[partition] = metadata.Ownership(owner=owner, previous=old.owner or old.previous)
        self.write(Assignment(variant=NAME, partitions=tuple(parts)))


@dataclass
class Supervisor:
    """One worker with one instance; does with `Ownership` what a supervisor does."""

    name: str
    log: Log
    boots: object = field(default_factory=lambda: count(1))
    read: int = 0
    state: str = "active"
    draining: bool = False
    sequence: int = 0
    consuming: set = field(default_factory=set)
    releasing: set = field(default_factory=set)

    def __post_init__(self):
        self.boot()

    @property
    def view(self):
        return self.log.views[self.read]

    @property
    def valid(self):
        """Whether what it does counts, by all that is in the log."""
        return self.log.now.boot_counts(self.name, self.me.boot_id) and self.state != "failed"

    def boot(self):
        self.me = Owner(worker=self.name, boot_id=f"{self.name}{next(self.boots):03}", instance=0)
        self.own = Ownership(NAME, self.me)
        self.state, self.draining, self.sequence = "active", False, 0
        self.consuming, self.releasing = set(), set()
        self.log.write(worker(self.name, self.me.boot_id))
        self.fact()

    def fact(self):
        self.sequence += 1
        self.log.write(
            Instance(
                worker=self.name, boot_id=self.me.boot_id, variant=NAME, instance=0, state=self.state,
                taken=self.own.taken(), released=tuple(sorted(self.own.released)), died=dict(self.own.died),
                sequence=self.sequence,
            )
        )  # fmt: skip

    def read_one(self):
        if self.read == len(self.log.records):
            return False
        record, before = self.log.records[self.read], self.view
        self.read += 1
        if isinstance(record, Instance) and record.boot_id == self.me.boot_id:
            self.own.read_back(record, before)
        if isinstance(record, Verdict) and record.boot_id == self.me.boot_id:
            self.boot()
        return True

    def step(self):
        if self.state != "active":
            return
        for partition in self.own.grants():
            self.own.death_before(self.view, partition)
            self.consuming.add(partition)
        self.releasing |= set(self.own.surplus(self.view, draining=self.draining))
        changed = self.own.give_back()
        if not self.draining:
            changed = self.own.want(self.view, self.sequence + 1) or changed
        if changed:
            self.fact()

    def release(self, partition):
        if partition in self.releasing:
            self.releasing.discard(partition)
            self.consuming.discard(partition)
            self.own.release(partition)
            self.fact()

    def lose(self, state, furthest):
        self.consuming, self.releasing, self.state = set(), set(), state
        self.own.lose(furthest)
        self.fact()


class Cell:
    def __init__(self):
        self.log = Log()
        self.workers = {name: Supervisor(name, self.log) for name in WORKERS}

    def act(self, what, name, partition):
        one = self.workers[name]
        match what:
            case "read":
                one.read_one()
            case "read all":
                while one.read_one():
                    pass
            case "step":
                one.step()
            case "release":
                one.release(partition)
            case "assign":
                self.log.assign(partition, one.me)
            case "unassign":
                self.log.assign(partition, None)
            case _:
                self.harm(what, one, partition)

    def harm(self, what, one, partition):
        match what:
            case "child dies":
                one.lose("starting", {partition: 7})
            case "ready" if one.state == "starting":
                one.state = "active"
                one.fact()
            case "fails":
                one.lose("failed", {})
            case "drain":
                one.draining = True
            case "stopped by order":
                one.lose(one.state, None)
            case "dies":
                one.boot()
            case "verdict":
                self.log.write(Verdict(worker=one.name, boot_id=one.me.boot_id))

    def owners(self, partition):
        return [w.name for w in self.workers.values() if partition in w.consuming and w.valid]

    def settle(self):
        """Nothing more goes wrong: everybody reads, steps and lets go, until nothing changes."""
        for one in self.workers.values():
            if one.state == "starting":
                self.act("ready", one.name, 0)
        for _ in range(20):
            written = len(self.log.records)
            for one in self.workers.values():
                self.act("read all", one.name, 0)
                one.step()
                for partition in range(PARTITIONS):
                    one.release(partition)
            if written == len(self.log.records):
                return
        pytest.fail("it does not settle")


USUAL = ["read", "read all", "read all", "step", "step", "step", "release", "assign", "assign"]
RARE = ["unassign", "child dies", "ready", "ready", "fails", "drain", "stopped by order", "dies", "verdict"]
actions = st.lists(
    st.tuples(
        st.sampled_from(USUAL * 2 + RARE), st.sampled_from(WORKERS), st.integers(0, PARTITIONS - 1)
    ),
    min_size=10,
    max_size=120,
)  # fmt: skip


@given(actions)
def test_no_two_owners_that_count_ever_consume_the_same_partition(happened):
    cell = Cell()
    for what, name, partition in happened:
        cell.act(what, name, partition)
        for p in range(PARTITIONS):
            assert len(cell.owners(p)) <= 1
    event(f"{sum(len(cell.owners(p)) for p in range(PARTITIONS))} owned")


@given(actions)
def test_when_nothing_more_goes_wrong_the_assigned_owner_and_nobody_else_consumes(happened):
    cell = Cell()
    for one in happened:
        cell.act(*one)
    cell.settle()
    for p in range(PARTITIONS):
        assignment = cell.log.now.assignments.get(NAME)
        owner = assignment.partitions[p].owner if assignment else None
        able = [w.name for w in cell.workers.values() if w.me == owner and w.state == "active" and not w.draining]
        assert cell.owners(p) == able


@given(actions)
def test_facts_say_what_is_consumed(happened):
    """At any moment everything that is consumed stands as taken in the log, or in a life that does not count any more."""
    cell = Cell()
    for what, name, partition in happened:
        cell.act(what, name, partition)
        for one in cell.workers.values():
            fact = cell.log.now.instances.get((one.name, NAME, 0))
            if one.valid and one.consuming:
                assert fact.boot_id == one.me.boot_id
                assert one.consuming <= set(fact.taken)
                assert not one.consuming & set(fact.released)


# ---- step by step


def start(*taken_by_others):
    """A log in which partition 0 is ours, and another worker has these."""
    log = Log()
    mine, other = Supervisor("a", log), Supervisor("b", log)
    log.assign(0, mine.me)
    if taken_by_others:
        log.write(fact_of(other, taken=taken_by_others))
    return log, mine, other


def fact_of(one, **changes):
    return Instance(
        worker=one.name, boot_id=one.me.boot_id, variant=NAME, instance=0, **{"state": "active", "sequence": 9, **changes}
    )  # fmt: skip


def read_all(one):
    while one.read_one():
        pass


def test_it_begins_only_after_its_own_fact_was_read_back():
    log, mine, _ = start()
    read_all(mine)
    mine.step()
    assert log.records[-1].taken == (0,)
    mine.step()
    assert not mine.consuming, "written is not read"
    read_all(mine)
    mine.step()
    assert mine.consuming == {0}


@pytest.mark.parametrize("rival", ["takes first", "is assigned instead"])
def test_what_was_in_the_log_before_its_fact_counts_though_it_had_not_read_it(rival):
    log, mine, other = start()
    read_all(mine)
    if rival == "takes first":
        log.write(fact_of(other, taken=(0,)))
    else:
        log.assign(0, other.me)
    mine.step()
    assert 0 in log.records[-1].taken
    read_all(mine)
    mine.step()
    assert not mine.consuming
    assert (log.records[-1].taken, log.records[-1].released) == ((), (0,)), "it takes the fact back"


HOLDERS = {
    "runs": (lambda log, other: None, False),
    "drains": (lambda log, other: log.write(fact_of(other, taken=(0,), state="draining")), False),
    "has crashed, and may be back": (lambda log, other: log.write(fact_of(other, taken=(0,), state="starting")), False),
    "has let go": (lambda log, other: log.write(fact_of(other, released=(0,))), True),
    "has failed": (lambda log, other: log.write(fact_of(other, taken=(0,), state="failed")), True),
    "was pronounced dead": (lambda log, other: log.write(Verdict(worker="b", boot_id=other.me.boot_id)), True),
    "is back with a new boot id": (lambda log, other: log.write(worker("b", "b999")), True),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_new_owner_starts_when_no_fact_that_counts_has_the_partition(holder):
    happens, free = HOLDERS[holder]
    log, mine, other = start(0)
    happens(log, other)
    for _ in range(4):
        read_all(mine)
        mine.step()
    assert (mine.consuming == {0}) == free


def test_a_fact_of_an_earlier_taking_does_not_grant_a_later_one():
    _, mine, _ = start()
    read_all(mine)
    mine.step()
    mine.lose("active", None)
    early = mine.read
    assert mine.own.want(mine.view, mine.sequence + 1), "it wants it again, and has not yet written so"
    read_all(mine)
    assert mine.read == early + 2
    assert mine.own.grants() == []


def test_a_release_is_written_only_when_the_child_has_let_go():
    log, mine, other = start()
    for _ in range(3):
        read_all(mine)
        mine.step()
    log.assign(0, other.me)
    read_all(mine)
    mine.step()
    assert (mine.consuming, mine.own.taken()) == ({0}, (0,))
    mine.release(0)
    assert (log.records[-1].taken, log.records[-1].released) == ((), (0,))


# ---- how the owner before ended


def own(assigned, *records):
    log = Log(worker("a", "a1"), worker("b", "b1"), *records)
    me, before = Owner(worker="a", boot_id="a1", instance=0), Owner(worker="b", boot_id="b1", instance=0)
    part = metadata.Ownership(owner=me, previous=before if assigned else None)
    log.write(Assignment(variant=NAME, partitions=(part,)))
    return Ownership(NAME, me), log.now


def fact_b(**changes):
    return Instance(worker="b", boot_id="b1", variant=NAME, instance=0, state="active", **changes)


ENDS = {
    "nobody was before": (False, (), None),
    "it released": (True, (fact_b(released=(0,)),), None),
    "its child died": (True, (fact_b(released=(0,), died={0: 12}),), Death("b", 12)),
    "its child died holding another": (True, (fact_b(released=(0,), died={1: 12}),), None),
    "it was pronounced dead": (True, (fact_b(released=(0,)), Verdict(worker="b", boot_id="b1")), Death("b")),
    "it is back with a new boot id": (True, (fact_b(died={0: 12}), worker("b", "b2")), Death("b")),
    "its instance is gone in good order": (True, (), None),
}


@pytest.mark.parametrize("end", ENDS)
def test_how_the_owner_before_ended(end):
    assigned, records, expected = ENDS[end]
    mine, view = own(assigned, *records)
    assert mine.death_before(view, 0) == expected


def test_an_owner_that_comes_back_after_its_own_death_knows_of_it_once():
    mine, view = own(True, fact_b(released=(0,)))
    mine.holding = {0: "held", 1: "releasing", 2: "taking"}
    mine.lose({0: 5})
    assert mine.died == {0: 5, 1: 0}, "what it had not begun to consume it cannot have died of"
    assert mine.death_before(view, 0) == Death("a", 5)
    assert mine.death_before(view, 0) is None
    assert mine.died == {1: 0}


def test_an_end_by_order_is_no_death():
    mine, view = own(True, fact_b(released=(0,)))
    mine.holding = {0: "held"}
    mine.lose(None)
    assert (mine.died, mine.death_before(view, 0), mine.taken()) == ({}, None, ())


def test_a_refused_partition_is_not_wanted_again_until_it_was_somebody_elses():
    mine, view = own(False)
    assert mine.want(view, 1)
    mine.refuse(0)
    assert not mine.want(view, 2)
    mine.surplus(view, draining=False)
    assert not mine.want(view, 2), "still ours to refuse"
    elsewhere = replace(view, kinds={**view.kinds, "assignment": {}})
    mine.surplus(elsewhere, draining=False)
    assert mine.want(view, 2)


def test_a_refused_partition_is_taken_again_when_no_other_worker_is_left_to_try():
    mine, view = own(False)
    assert mine.want(view, 1)
    mine.refuse(0)
    mine.surplus(view, draining=False)
    assert not mine.want(view, 2, others=True)
    assert mine.want(view, 2, others=False)
