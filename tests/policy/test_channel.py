"""The channel: what is said is heard, and a busy talker does not wake its listener for each word."""

import os
import time

import pytest

from infaas.host import channel
from infaas.host.channel import GATHER_S, Inbox, tell
from infaas.host.messages import FROM_CHILD, Alive

WORDS = 50


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def heard_of(inbox, number, timeout_s=10.0):
    out, deadline_s = [], time.monotonic() + timeout_s
    while len(out) < number and time.monotonic() < deadline_s:
        out += inbox.take()
        time.sleep(0.001)
    return out


@pytest.mark.parametrize("gather_s", [0.0, GATHER_S])
def test_all_that_is_said_is_heard_in_order_and_the_end_as_well(pipe, gather_s):
    reading, writing = pipe
    inbox = Inbox(reading, FROM_CHILD, gather_s=gather_s)
    for _ in range(WORDS):
        tell(writing, Alive())
    os.close(writing)
    assert heard_of(inbox, WORDS) == [Alive()] * WORDS
    inbox.join()
    assert inbox.closed


def test_who_gathers_is_woken_once_for_what_is_said_in_a_while(pipe, monkeypatch):
    reading, writing = pipe
    reads, read = [], os.read

    def noticed(descriptor, most):
        chunk = read(descriptor, most)
        reads.append(len(chunk))
        return chunk

    monkeypatch.setattr(channel.os, "read", noticed)
    inbox = Inbox(reading, FROM_CHILD, gather_s=0.2)
    tell(writing, Alive())
    heard = heard_of(inbox, 1)
    for _ in range(WORDS):
        tell(writing, Alive())
    heard += heard_of(inbox, WORDS)
    os.close(writing)
    inbox.join()
    assert heard == [Alive()] * (WORDS + 1)
    assert len(reads) <= 4, "the first, the others (two at most), and the end"
