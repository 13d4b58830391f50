"""Progress never passes an offset that is not done, and a commit counts when it is confirmed."""

from hypothesis import given
from hypothesis import strategies as st

from infaas.bus.progress import Progress, start


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms(use_true_random=False), st.integers(0, 30))
def test_position_never_passes_an_open_offset(gaps, random, count):
    offsets, at = [], 0
    for gap in gaps:
        at += gap
        offsets.append(at)
    progress = Progress(0)
    for offset in offsets:
        progress.add(offset)
    done = random.sample(offsets, min(count, len(offsets)))
    for offset in done:
        progress.done(offset)
    still_open = [offset for offset in offsets if offset not in done]
    assert progress.position == (min(still_open) if still_open else offsets[-1] + 1)


def test_offset_done_twice_is_harmless():
    progress = Progress(5)
    for offset in (5, 6, 7):
        progress.add(offset)
    progress.done(5)
    progress.done(5)
    assert progress.position == 6
    progress.done(7)
    assert progress.position == 6
    progress.done(6)
    assert (progress.position, progress.pending) == (8, 0)


def test_a_commit_that_was_refused_is_repeated_and_one_under_way_is_not():
    progress = Progress(0)
    progress.add(0)
    assert progress.moved is None
    progress.done(0)
    assert progress.moved == 1
    progress.committing(1)
    assert progress.moved is None
    assert progress.uncommitted == 1
    progress.refused()
    assert progress.moved == 1
    progress.committing(1)
    progress.committed(1)
    assert progress.moved is None
    assert progress.uncommitted is None
    progress.refused()
    assert progress.moved is None


@given(st.none() | st.integers(0, 100), st.integers(0, 100))
def test_a_start_is_never_before_what_is_there_nor_before_what_is_committed(committed, low):
    begin = start(committed, low)
    assert begin >= low
    assert begin in (low, committed)
