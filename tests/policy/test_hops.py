"""What the way to an instance and back is taken to cost: the slow ones of late, and no more of what has passed."""

from infaas.policy.fits import OVERHEAD_MS
from infaas.router.hops import FRESH_MS, KEPT_MS, Hops


def seen(*deliveries):
    hops = Hops()
    for at_ms, took_ms in deliveries:
        hops.observe(took_ms, at_ms)
    return hops


def test_before_anything_is_seen_it_is_the_usual_and_never_less():
    assert Hops().overhead_ms == OVERHEAD_MS
    assert seen(*((n * FRESH_MS, 0.01) for n in range(50))).overhead_ms == OVERHEAD_MS


def test_it_is_both_ways_as_slow_as_the_slowest_tenth():
    busy = [(n, 5.0 if n % 50 else 20.0) for n in range(0, 2000, 10)]
    assert seen(*busy, (3000.0, 5.0)).overhead_ms == 40.0


def test_one_in_a_thousand_is_no_measure():
    assert (
        seen((0.0, 4.0), *((n, 4.0) for n in range(1, 300)), (300.0, 900.0), (301.0 + FRESH_MS, 4.0)).overhead_ms == 8.0
    )


def test_a_stall_is_forgotten():
    stalled = seen((0.0, 5_000.0), (FRESH_MS, 5_000.0))
    assert stalled.overhead_ms == 10_000.0
    stalled.observe(1.0, FRESH_MS + KEPT_MS + 1.0)
    assert stalled.overhead_ms == OVERHEAD_MS
