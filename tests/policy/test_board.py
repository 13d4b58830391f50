"""The board: whoever looks sees the newest state whole, whatever its writer is doing, or died of."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infaas.host.board import PLACE_BYTES, Board, memory


@pytest.fixture
def ends():
    descriptor = memory()
    writer, reader = Board(descriptor), Board(descriptor)
    os.close(descriptor)
    yield writer, reader
    writer.close()
    reader.close()


def test_nothing_is_news_but_what_was_written_since(ends):
    writer, reader = ends
    assert reader.news() is None
    writer.write(b"one")
    assert (reader.news(), reader.news()) == (b"one", None)
    writer.write(b"two")
    writer.write(b"")
    assert (reader.news(), reader.news()) == (b"", None)
    writer.write(b"")
    assert reader.news() == b"", "the same again is another state"


@given(st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=8))
def test_it_is_always_the_newest(rounds):
    descriptor = memory()
    writer, reader = Board(descriptor), Board(descriptor)
    os.close(descriptor)
    for states in rounds:
        for state in states:
            writer.write(state)
        assert reader.news() == (states[-1] if states else None)
    writer.close()
    reader.close()


def test_a_state_that_is_too_large_is_refused_with_the_limit_and_the_one_before_stands(ends):
    writer, reader = ends
    writer.write(b"before")
    with pytest.raises(ValueError, match=str(PLACE_BYTES)):
        writer.write(b"x" * (PLACE_BYTES + 1))
    assert reader.news() == b"before"


def test_a_reader_beside_a_busy_writer_sees_only_what_was_written_and_ever_newer(ends):
    writer, reader = ends
    done = threading.Event()

    def write() -> None:
        for number in range(20_000):
            writer.write(b"%d:" % number + bytes([number % 256]) * (number % 700))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    last = -1
    while not done.is_set() or last < 19_999:
        state = reader.news()
        if state is not None:
            text, _, rest = state.partition(b":")
            number = int(text)
            assert number > last
            assert rest == bytes([number % 256]) * (number % 700)
            last = number
    thread.join()


WRITES = """
import sys
from infaas.host.board import Board
board, number = Board(int(sys.argv[1])), 0
while True:
    number += 1
    board.write(b"%d" % number * 1000)
    if number == 1000:
        print("writes", flush=True)
"""


def test_what_it_said_last_stays_when_it_is_killed():
    descriptor = memory()
    reader = Board(descriptor)
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, str(descriptor)], pass_fds=[descriptor], stdout=subprocess.PIPE
    ) as writer:
        os.close(descriptor)
        assert writer.stdout.readline() == b"writes\n"
        time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
    state = reader.news()
    number = state[: len(state) // 1000]
    assert state == number * 1000
    assert int(number) >= 1000
    reader.close()
