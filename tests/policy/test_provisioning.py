"""Machines that do not stay are not replaced in a tight loop, and never given up."""

import itertools
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infaas.scaler.machines import COMING_S, AddMachine, Park, StopMachine, decide
from infaas.scaler.pauses import FIRST_S, LONGEST_S, STAYED_S, Pause, after_loss, after_stay
from infaas.scaler.provisioning import Provisioning
from infaas.scaler.snapshot import Room, Snapshot
from infaas.schemas.metadata import Hardware, Machine, Worker
from infaas.store.view import View

HOUR_S = 3600
TYPE = "local-2"
stays = st.one_of(st.none(), st.integers(0, int(2 * STAYED_S)))
"""How long a machine's worker is there; None = it never comes."""


@given(st.lists(stays, max_size=40))
def test_each_loss_in_a_row_waits_longer_up_to_a_limit_and_one_that_stayed_ends_the_row(lives):
    pause, now_s = Pause(), 0.0
    for life_s in lives:
        before, came_at_s = pause, None if life_s is None else now_s
        now_s += COMING_S if life_s is None else life_s
        pause = after_loss(before, came_at_s=came_at_s, now_s=now_s)
        if life_s is not None and now_s - came_at_s >= STAYED_S:
            assert pause == Pause()
            assert pause.over(now_s)
        else:
            assert pause.losses == before.losses + 1
            assert pause.until_s - now_s == min(LONGEST_S, FIRST_S * 2**before.losses)
            assert not pause.over(now_s)
            now_s = pause.until_s


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 50))
def test_only_a_machine_that_came_after_the_last_loss_ends_the_row(came_at_s, lost_at_s, more_s, losses):
    pause = Pause(losses, lost_at_s, lost_at_s + 1.0)
    now_s = max(came_at_s, lost_at_s) + more_s
    cleared = after_stay(pause, came_at_s=came_at_s, now_s=now_s) == Pause()
    assert cleared == (came_at_s > lost_at_s and now_s - came_at_s >= STAYED_S)


class Ledger:
    """Leadership and journal of a provisioning whose records the test looks at."""

    epoch = 1

    def __init__(self):
        self.machines, self.records = {}, []

    def write(self, about, *more):
        if more:
            self.records.append((about, *more[:2]))
        else:
            self.machines[about.key] = about

    def journal(self, about, decision, reason, view, **_):
        self.records.append((about, decision, reason))

    def delete(self, key):
        del self.machines[key]


class Journal:
    def __init__(self, ledger):
        self.write = ledger.journal


class Provider:
    """Machines whose worker lives as long as the test says; `life_s` None = it raises."""

    def __init__(self, life_s, clock):
        self.life_s, self.clock, self.started = life_s, clock, []

    def start(self, machine):
        self.started.append(self.clock.now_s)
        if self.life_s is None:
            raise OSError("no process can be made")
        return f"{machine.machine}@{self.clock.now_s}"

    def stop(self, machine):
        pass

    def alive(self, machine):
        """Its worker comes at once."""
        if machine.provider_id is None:
            return False
        return self.clock.now_s - float(machine.provider_id.partition("@")[2]) <= self.life_s


class Clock:
    now_s = 0.0


class Cell:
    """A cell whose load always needs one more machine; `step` is one decision, and each ends what it began."""

    def __init__(self, life_s, *, steady=0):
        self.clock, self.ledger = Clock(), Ledger()
        self.provider = Provider(life_s, self.clock)
        self.steady = [f"steady{n}" for n in range(steady)]
        for name in self.steady:
            self.ledger.write(Machine(machine=name, machine_type=TYPE, wanted="running", provider_id=f"{name}@0"))
        self.provisioning = Provisioning(
            self.provider, machine_type=TYPE, at_most=1 + steady, leadership=self.ledger,
            journal=Journal(self.ledger), view=self.view, now=lambda: self.clock.now_s,
        )  # fmt: skip

    def view(self):
        hardware = Hardware(cores=2, memory_bytes=1 << 30)
        live = [m.machine for m in self.ledger.machines.values() if m.machine in self.steady or self.provider.alive(m)]
        workers = [
            Worker(worker=n, boot_id="b", machine_type=TYPE, hardware=hardware, price_per_hour=1.0) for n in live
        ]
        return View(0, 0, {"worker": {w.key: w for w in workers}, "machine": dict(self.ledger.machines)})

    def step(self):
        self.clock.now_s += 1.0
        view = self.view()
        rooms = {name: Room(name, ("cpu",), 2, 1 << 30) for name in view.live_workers}
        park = Park(machines=dict(view.machines))
        self.provisioning.step(Snapshot(self.clock.now_s, rooms=rooms), park, {"v": 1}, self.clock.now_s)
        lane = self.provisioning.lane
        if lane.busy:
            assert lane._task.finished.wait(10)
            lane.step(self.ledger.epoch)

    def run(self, seconds):
        for _ in range(seconds):
            self.step()
        self.provisioning.lane.close()

    def decisions(self, kind):
        return [(about, reason) for about, decision, reason in self.ledger.records if decision == kind]


LONGEST_ROW = math.ceil(math.log2(LONGEST_S / FIRST_S)) + 1
MOST_IN_AN_HOUR = LONGEST_ROW + HOUR_S / LONGEST_S


@pytest.mark.parametrize("life_s", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("steady", [0, 2])
def test_a_machine_that_keeps_dying_is_started_ever_more_rarely_and_never_given_up(life_s, steady):
    cell = Cell(life_s, steady=steady)
    cell.run(HOUR_S)
    started = cell.provider.started
    assert 2 < len(started) <= MOST_IN_AN_HOUR
    gaps = [after - before for before, after in itertools.pairwise(started)]
    assert gaps == sorted(gaps), "each pause is as long as the one before or longer"
    assert gaps[-1] <= LONGEST_S + COMING_S + 5
    pauses = cell.decisions("Pause")
    assert len(pauses) >= len(started) - 1
    assert all(about == TYPE for about, _ in pauses)
    assert "; 3 in a row did not stay: the next start waits 8 s" in pauses[2][1]


def test_a_provider_that_raises_is_asked_ever_more_rarely_and_ends_nothing(caplog):
    cell = Cell(None)
    with caplog.at_level(logging.WARNING):
        cell.run(HOUR_S)
    assert 2 < len(cell.provider.started) <= MOST_IN_AN_HOUR
    assert "can't be started: no process can be made" in cell.decisions("Pause")[0][1]
    assert "a machine can't be started" in caplog.messages


@pytest.mark.parametrize("life_s", [0.0, STAYED_S + 10])
def test_names_are_used_again_so_that_what_is_kept_of_workers_is_bounded(life_s):
    """Of each name the store holds one worker and one verdict: they are as many as there ever were machines at once."""
    cell, names = Cell(life_s, steady=2), set()
    for _ in range(HOUR_S):
        cell.step()
        names |= {machine.machine for machine in cell.ledger.machines.values()}
    cell.provisioning.lane.close()
    assert len(cell.provider.started) > 2
    assert names == {*cell.steady, "local-1"}


def test_a_machine_that_dies_after_it_stayed_is_replaced_at_once():
    cell = Cell(STAYED_S + 10)
    cell.run(HOUR_S)
    started = cell.provider.started
    gaps = [after - before for before, after in itertools.pairwise(started)]
    assert len(gaps) > 20
    assert max(gaps) <= STAYED_S + 15
    assert cell.decisions("Pause") == []


@given(st.integers(0, 1000), st.integers(-1000, 1000))
def test_the_policy_adds_no_machine_before_the_pause_is_over(now_s, left_s):
    pause = Pause(3, now_s, now_s + left_s)
    orders, _ = decide(Snapshot(now_s), Park(pause=pause), {"v": 1}, at_most=1, quiet_since={})
    assert [type(order) for order in orders] == ([AddMachine] if left_s <= 0 else [])


def test_a_lost_machine_is_stopped_at_once_however_long_the_pause():
    machine = Machine(machine="m", machine_type=TYPE, wanted="running", provider_id="1")
    park = Park(machines={"m": machine}, came=frozenset({"m"}), since={"m": 0.0}, pause=Pause(9, 0.0, 1e9))
    orders, _ = decide(Snapshot(1.0), park, {"v": 1}, at_most=1, quiet_since={})
    assert orders == [StopMachine("m", "its worker died", lost=True)]
