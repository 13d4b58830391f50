"""The broker's clock out of round trips on a monotonic clock, whatever the wall clocks do."""

import math

from hypothesis import given
from hypothesis import strategies as st

from infaas.bus.clock import DRIFT, STAMP_MS, BrokerClock

EPOCH_MS = 1.7e12


class World:
    """A true time in seconds, with a broker and a process whose wall clocks are off."""

    def __init__(self, *, broker_off_ms=0.0, wall_off_ms=0.0, drift=0.0):
        self.now_s, self.broker_off_ms, self.wall_off_ms, self.drift = 1000.0, broker_off_ms, wall_off_ms, drift
        self.clock = BrokerClock(monotonic=lambda: self.now_s, wall=self.wall)

    def wall(self):
        return EPOCH_MS + self.now_s * 1000.0 + self.wall_off_ms

    def broker(self):
        return EPOCH_MS + self.now_s * 1000.0 * (1.0 + self.drift) + self.broker_off_ms

    def trip(self, there_ms, back_ms):
        sent = self.now_s
        self.now_s += there_ms / 1000.0
        stamp = math.floor(self.broker())
        self.now_s += back_ms / 1000.0
        self.clock.observe(sent, self.now_s, stamp)

    def error_ms(self):
        return abs(self.clock.now_ms() - self.broker())


def test_before_the_first_report_the_wall_clock_is_all_there_is():
    world = World(broker_off_ms=500.0, wall_off_ms=-200.0)
    assert world.clock.now_ms() == world.wall()
    assert world.clock.error_ms == math.inf
    assert world.clock.offset_ms == 0.0


def test_clocks_that_agree_stay_as_they_are():
    world = World()
    for _ in range(10):
        world.trip(40.0, 2.0)
        assert world.error_ms() < 0.01


def test_a_step_of_the_wall_clock_changes_nothing():
    world = World(broker_off_ms=200.0)
    world.trip(0.3, 0.3)
    for step_ms in (-5_000.0, 60_000.0, -3_600_000.0):
        world.wall_off_ms += step_ms
        assert world.error_ms() <= 1.0 + STAMP_MS
        world.trip(0.3, 0.3)
        assert world.error_ms() <= 1.0 + STAMP_MS


def test_a_step_between_send_and_report_changes_nothing():
    world = World()
    sent = world.now_s
    world.now_s += 0.001
    stamp = math.floor(world.broker())
    world.wall_off_ms = -86_400_000.0
    world.now_s += 0.001
    world.clock.observe(sent, world.now_s, stamp)
    assert world.error_ms() <= 2.0 + STAMP_MS


def test_a_step_of_the_brokers_clock_is_followed_at_the_next_report():
    world = World()
    world.trip(1.0, 1.0)
    world.broker_off_ms = -10_000.0
    world.trip(1.0, 1.0)
    assert world.error_ms() <= 2.0 + STAMP_MS


def test_many_slow_reports_together_say_more_than_one():
    world = World(broker_off_ms=300.0)
    world.trip(100.0, 1.0)
    world.trip(1.0, 100.0)
    assert world.clock.error_ms < 5.0
    assert world.error_ms() < 5.0


TRIPS = st.lists(
    st.tuples(
        st.floats(0.0, 5_000.0),  # there, ms
        st.floats(0.0, 5_000.0),  # back, ms
        st.floats(0.0, 600.0),  # s until the next one
        st.floats(-1e7, 1e7),  # a step of our wall clock
    ),
    min_size=1,
    max_size=30,
)


@given(TRIPS, st.floats(-1e6, 1e6), st.floats(-DRIFT / 2, DRIFT / 2))
def test_the_error_is_within_its_bound_whatever_the_wall_clock_does(trips, broker_off_ms, drift):
    world = World(broker_off_ms=broker_off_ms, drift=drift)
    world.broker_off_ms -= 1000.0 * world.now_s * drift
    for there_ms, back_ms, pause_s, step_ms in trips:
        world.wall_off_ms += step_ms
        world.trip(there_ms, back_ms)
        drifted = (there_ms + back_ms) * DRIFT
        assert world.error_ms() <= world.clock.error_ms + drifted + 0.01
        assert world.clock.error_ms <= there_ms + back_ms + STAMP_MS + 0.01
        world.now_s += pause_s
