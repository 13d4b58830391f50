"""A loop's beat: nobody who is alone waits, and what comes quickly is taken together."""

import pytest

from infaas.host.pace import BEAT_S, Pace


class World:
    def __init__(self):
        self.now_s, self.slept = 100.0, []

    def sleep(self, s):
        self.slept.append(s)
        self.now_s += s


@pytest.fixture
def world():
    return World()


def paced(world):
    return Pace(now=lambda: world.now_s, sleep=world.sleep)


def test_who_comes_alone_is_never_waited_for(world):
    pace = paced(world)
    for _ in range(5):
        world.now_s += 2 * BEAT_S
        pace.wait()
        pace.took(1)
    assert world.slept == []


def test_once_more_come_than_one_a_beat_a_beat_is_waited_and_no_longer(world):
    pace = paced(world)
    world.now_s += 1.0
    pace.took(2)
    world.now_s += BEAT_S / 4
    pace.wait()
    assert world.slept == [pytest.approx(0.75 * BEAT_S)]
    pace.took(1)
    world.now_s += 2 * BEAT_S
    pace.wait()
    assert len(world.slept) == 1


def test_after_a_lull_the_first_is_taken_at_once(world):
    pace = paced(world)
    pace.took(9)
    world.now_s += 2 * BEAT_S
    pace.took(0)
    pace.wait()
    pace.took(1)
    pace.wait()
    assert world.slept == []
