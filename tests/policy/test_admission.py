"""What a worker takes in never exceeds what it has, and nobody is pinned to a core another one holds."""

from collections import Counter

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.workers.admission import Reserved, admit
from infaas.workers.settings import WorkerSettings

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

MIB = 1024 * 1024
MEMORY = 100
cores = st.lists(st.integers(0, 5), min_size=1, max_size=10).map(tuple)
asked = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 60)), max_size=15)


@given(cores, asked, st.randoms(use_true_random=False))
def test_comings_and_goings_never_over_commit(there, wanted, random):
    held = []
    for need_cores, need_bytes in wanted:
        if held and random.random() < 0.3:
            held.pop(random.randrange(len(held)))
        given_cores = admit(
            cores=there, memory_bytes=MEMORY, reserved=held, need_cores=need_cores, need_bytes=need_bytes
        )
        free = Counter(there) - Counter(core for one in held for core in one.cores)
        fits = free.total() >= need_cores and sum(one.memory_bytes for one in held) + need_bytes <= MEMORY
        assert (given_cores is not None) == fits, "it is taken in exactly when it fits"
        if given_cores is None:
            continue
        assert len(given_cores) == need_cores
        assert len(set(given_cores)) == min(need_cores, len(free)), "shares of one core only when there is no other"
        held.append(Reserved(given_cores, need_bytes))
        assert Counter(core for one in held for core in one.cores) <= Counter(there)
        assert sum(one.memory_bytes for one in held) <= MEMORY


@given(st.integers(1, 8), st.lists(st.integers(1, 4), max_size=8))
def test_whole_cores_are_nobody_elses(count, wanted):
    held = []
    for need in wanted:
        found = admit(cores=range(count), memory_bytes=MEMORY, reserved=held, need_cores=need, need_bytes=0)
        if found is not None:
            assert not set(found) & {core for one in held for core in one.cores}
            held.append(Reserved(found, 0))
    assert sum(len(one.cores) for one in held) <= count


def picked(there, need, *held, memory=0):
    reserved = [Reserved(tuple(cores), memory) for cores in held]
    return admit(cores=there, memory_bytes=MEMORY, reserved=reserved, need_cores=need, need_bytes=10)


TABLE = {
    "the first ones": (picked((0, 1, 2), 2), (0, 1)),
    "what is free": (picked((0, 1, 2), 2, (1,)), (0, 2)),
    "none left": (picked((0, 1), 1, (0,), (1,)), None),
    "fewer than needed": (picked((0, 1), 3), None),
    "two cores, not one core twice": (picked((0, 0, 1, 1), 2), (0, 1)),
    "the one that is shared least": (picked((0, 0, 1, 1), 1, (0,)), (1,)),
    "a machine with one core": (picked((0, 0), 2), (0, 0)),
    "cores that were taken away since": (picked((0, 1), 1, (5,), (0,)), (1,)),
    "no memory": (picked((0, 1), 1, (0,), memory=95), None),
    "just enough memory": (picked((0, 1), 1, (0,), memory=90), (1,)),
}


@pytest.mark.parametrize("case", TABLE)
def test_admission(case):
    found, expected = TABLE[case]
    assert found == expected


def test_a_worker_with_less_memory_than_a_build_is_accounted_with_can_still_build():
    """What a build needs is not known: it is accounted with a share, and with all there is where that is less."""
    small = 512 * 1024 * 1024
    worker = WorkerSettings(name="w", memory_bytes=small)
    assert worker.build_share() == small
    assert WorkerSettings(name="w", memory_bytes=4 * small, build_bytes=small).build_share() == small


def test_a_build_may_have_what_the_worker_has_to_give_unless_it_is_told_otherwise():
    assert WorkerSettings(name="w", memory_bytes=512 * MIB).build_limit() == 512 * MIB
    assert WorkerSettings(name="w", memory_bytes=512 * MIB, build_limit_bytes=64 * MIB).build_limit() == 64 * MIB
    whole = WorkerSettings(name="w")
    assert whole.build_limit() == whole.memory() < psutil.virtual_memory().total
