"""What kills two workers is condemned, and nothing else is; played through owner by owner, with the marks they commit."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.workers.poison import CONDEMNED, HELD, Death, Mark, Start, start, to_commit

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

BATCH = 3
RECORDS = 9
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)


@given(st.builds(Mark, st.integers(0, 2**63), st.integers(0, 2), names | st.just("")))
def test_marks_survive(mark):
    assert Mark.parse(str(mark)) == mark


@pytest.mark.parametrize("metadata", ["", "trying=", "trying=1;x;", "trying=-1;0;", "something else", "trying=1;0;w\n"])
def test_other_metadata_is_no_mark(metadata):
    assert Mark.parse(metadata) is None


COMMITTED = 10
MARKED = Mark(COMMITTED, 0)
ONCE = Mark(COMMITTED, 1, "a")
TABLE = {
    "nothing happened": (None, None, True, Start(10)),
    "released with a mark: careful, nobody died": (MARKED, None, True, Start(10 + HELD)),
    "died, it is known how far": (None, Death("a", 14), True, Start(14)),
    "died before it took anything": (None, Death("a", 0), True, Start(10)),
    "died, nobody knows how far": (None, Death("a"), True, Start(10 + HELD)),
    "died of the marked one, elsewhere": (MARKED, Death("a", 11), True, Start(11, 1, "a")),
    "died of the marked one, here": (MARKED, Death("b", 11), True, Start(10, 1, "b", elsewhere=True)),
    "died of the marked one, and there is only here": (MARKED, Death("b", 11), False, Start(11, 1, "b")),
    "once before, released": (ONCE, None, True, Start(10 + HELD, 1, "a")),
    "twice, on two workers": (ONCE, Death("b", 11), True, Start(11, 2, "a", condemn=True)),
    "twice on one worker proves nothing": (ONCE, Death("a", 11), True, Start(11, 1, "a")),
    "unless there is no other": (ONCE, Death("a", 11), False, Start(11, 2, "a", condemn=True)),
    "a mark of another offset is settled": (Mark(9, 1, "a"), Death("a", 12), True, Start(12)),
}


@pytest.mark.parametrize("case", TABLE)
def test_start(case):
    mark, death, others, expected = TABLE[case]
    assert start(COMMITTED, mark, death, end=COMMITTED + 2 * HELD, worker="b", others=others) == expected


@pytest.mark.parametrize("mark", [None, MARKED])
def test_what_came_after_the_new_owner_began_cannot_have_been_the_dead_ones(mark):
    """A supervisor that is gone takes the knowledge with it; hundreds of records, each with its mark, are slower than they come."""
    begun = start(COMMITTED, mark, Death("a"), end=COMMITTED + 3, worker="b", others=False)
    assert begun.alone_until == COMMITTED + 3
    assert start(COMMITTED, None, Death("a"), end=COMMITTED, worker="b", others=False) == Start(COMMITTED)


@given(
    st.integers(0, 50),
    st.none() | st.builds(Mark, st.integers(0, 50), st.integers(0, 2), st.sampled_from(["a", "b", ""])),
    st.none() | st.builds(Death, st.sampled_from(["a", "b", "c"]), st.none() | st.integers(0, 60)),
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.integers(0, 2 * HELD),
)
def test_the_count_is_raised_by_one_and_only_after_a_death(committed, mark, death, worker, others, more):
    end = committed + more
    how = start(committed, mark, death, end=end, worker=worker, others=others)
    counted = mark.deaths if mark and mark.offset == committed else 0
    assert counted <= how.deaths <= max(counted, min(CONDEMNED, counted + 1))
    if death is None or mark is None or mark.offset != committed:
        assert how.deaths == counted
    assert how.condemn == (how.deaths >= CONDEMNED)
    assert how.alone_until >= committed
    if death is not None and not how.elsewhere:
        assert how.alone_until >= (min(committed + HELD, end) if death.furthest is None else death.furthest)
    if how.elsewhere:
        assert others
        assert how.first_worker == worker


@dataclass
class Cell:
    """One partition and those who own it in turn; does what an instance does with the policy's answers."""

    workers: tuple[str, ...]
    poisonous: frozenset[int]
    told: bool
    """Whether somebody lives to tell how far a dead owner had taken."""
    committed: int = 0
    metadata: str = ""
    answered: set[int] = field(default_factory=set)
    condemned: set[int] = field(default_factory=set)
    died_of: dict[int, list[str]] = field(default_factory=dict)
    """Workers that died while a record ran alone."""
    deaths: int = 0
    last: Death | None = None

    @property
    def done(self) -> bool:
        return self.committed == RECORDS

    def commit(self, offset, metadata=""):
        assert set(range(offset)) <= self.answered | self.condemned, "no commit passes what is not answered"
        self.committed, self.metadata = offset, metadata

    def own(self, worker, accident):
        """One owner's life; `accident` = (after how many runs, what), None = it lives on. Returns whether it began."""
        others = len(self.workers) > 1
        how = start(self.committed, Mark.parse(self.metadata), self.last, end=RECORDS, worker=worker, others=others)
        mark = to_commit(self.committed, how, refusing=how.elsewhere)
        if mark is not None or not how.elsewhere:
            self.commit(self.committed, str(mark or ""))
        self.last = None
        if how.elsewhere:
            return False
        begin = at = self.committed
        if how.condemn:
            self.condemned.add(at)
            at += 1
            self.commit(at)
        runs = 0
        while at < RECORDS:
            alone = at < how.alone_until
            taken = range(at, at + 1) if alone else range(at, min(RECORDS, at + BATCH))
            if alone:
                counted = (how.deaths, how.first_worker) if at == begin else (0, "")
                self.commit(at, str(Mark(at, *counted)))
            if accident and accident[0] == runs:
                if accident[1] != "stop":
                    self.die(worker, taken[-1] + 1 if accident[1] == "kill" else None)
                return True
            if self.poisonous & set(taken):
                if alone:
                    self.died_of.setdefault(at, []).append(worker)
                self.die(worker, taken[-1] + 1 if self.told else None)
                return True
            self.answered |= set(taken)
            at, runs = taken[-1] + 1, runs + 1
            self.commit(at)
        return True

    def die(self, worker, furthest):
        self.deaths += 1
        self.last = Death(worker, furthest)


cells = st.builds(
    Cell,
    workers=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    poisonous=st.frozensets(st.integers(0, RECORDS - 1), max_size=3),
    told=st.booleans(),
)


def play(cell, data, accidents=()):
    """Owners come and go until all is answered; a refused partition goes to another worker."""
    accidents, refused = list(accidents), None
    for _ in range(200):
        if cell.done:
            return
        worker = data.draw(st.sampled_from([w for w in cell.workers if w != refused]))
        refused = None if cell.own(worker, accidents.pop() if accidents else None) else worker
    pytest.fail("it does not end")


@given(cells, st.data())
def test_exactly_the_poisonous_records_are_condemned_after_two_deaths(cell, data):
    play(cell, data)
    assert cell.condemned == cell.poisonous
    assert cell.answered == set(range(RECORDS)) - cell.poisonous
    for offset in cell.poisonous:
        assert len(cell.died_of[offset]) == CONDEMNED
        assert len(set(cell.died_of[offset])) == min(CONDEMNED, len(cell.workers)), "the second try is elsewhere"


@given(cells, st.data())
def test_a_poisonous_record_costs_at_most_three_deaths(cell, data):
    """One in a batch, which tells nothing of whose fault it was, and two alone."""
    play(cell, data)
    assert cell.deaths <= 3 * len(cell.poisonous)


accidents = st.tuples(st.integers(0, RECORDS), st.sampled_from(["kill", "machine"]))
stops = st.tuples(st.integers(0, RECORDS), st.just("stop"))


@given(cells, accidents, st.lists(stops, max_size=10), st.data())
def test_one_accident_and_any_number_of_stops_condemn_nobody(cell, accident, ordered, data):
    cell.poisonous = frozenset()
    at = data.draw(st.integers(0, len(ordered)))
    play(cell, data, [*ordered[:at], accident, *ordered[at:]])
    assert not cell.condemned
    assert cell.answered == set(range(RECORDS))


@given(cells, st.lists(accidents | stops, max_size=10), st.data())
def test_whatever_happens_every_record_ends_and_every_poisonous_one_is_condemned(cell, happened, data):
    play(cell, data, happened)
    assert cell.answered | cell.condemned == set(range(RECORDS))
    assert not cell.answered & cell.condemned
    assert cell.poisonous <= cell.condemned
