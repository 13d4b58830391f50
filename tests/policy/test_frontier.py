"""The frontier never passes an offset that is not done."""

from hypothesis import given
from hypothesis import strategies as st

from infaas.bus.frontier import Frontier


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms(use_true_random=False), st.integers(0, 30))
def test_position_never_passes_an_open_offset(gaps, random, count):
    offsets, at = [], 0
    for gap in gaps:
        at += gap
        offsets.append(at)
    frontier = Frontier(0)
    for offset in offsets:
        frontier.add(offset)
    done = random.sample(offsets, min(count, len(offsets)))
    for offset in done:
        frontier.done(offset)
    still_open = [offset for offset in offsets if offset not in done]
    assert frontier.position == (min(still_open) if still_open else offsets[-1] + 1)


def test_offset_done_twice_is_harmless():
    frontier = Frontier(5)
    for offset in (5, 6, 7):
        frontier.add(offset)
    frontier.done(5)
    frontier.done(5)
    assert frontier.position == 6
    frontier.done(7)
    assert frontier.position == 6
    frontier.done(6)
    assert (frontier.position, frontier.pending) == (8, 0)
