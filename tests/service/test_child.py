"""A child process, whatever it does: its supervisor waits for none, loses none, and keeps none that it could not make."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from processes import freeze, left_of

from infaas.host import child as module
from infaas.host.board import Board, memory
from infaas.host.channel import JOIN_S, Speaker
from infaas.host.child import KILLED_S, Child
from infaas.host.messages import FROM_CHILD, BatchBegan, Ready, Release, Stop

CHILD = "infaas.workers.serve"


@pytest.fixture
def made(monkeypatch):
    """Processes as they are started."""
    processes, spawn = [], module.spawn

    def noticed(*args, **more):
        processes.append(spawn(*args, **more))
        return processes[-1]

    monkeypatch.setattr(module, "spawn", noticed)
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_who_tells_a_child_that_does_not_read_does_not_wait_and_it_is_told_later(made):
    child = Child(module=CHILD, cores=(), order=Stop())
    freeze(child.pid)
    began_s = time.monotonic()
    for partition in range(10_000):  # more than a pipe holds
        child.tell(Release(partition=partition))
    assert time.monotonic() - began_s < 5.0
    assert child._unsent
    os.kill(child.pid, signal.SIGCONT)
    deadline = time.monotonic() + 60.0
    while child.status() is None and time.monotonic() < deadline:  # no order: it ends once it is told that it is none
        child.heard()
        time.sleep(0.01)
    assert child.status() is not None
    child.reap()


def test_a_child_whose_channel_cannot_be_made_is_no_process_left(made, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "Inbox", refuse)
    with pytest.raises(RuntimeError):
        Child(module=CHILD, cores=(), order=Stop())
    made[0].wait(10.0)
    assert made[0].stdin.closed
    assert made[0].stdout.closed


def test_who_kills_what_the_kernel_holds_does_not_wait_for_it(made, monkeypatch):
    child = Child(module=CHILD, cores=(), order=Stop())
    process, held = made[0], [True]
    poll, wait = process.poll, process.wait

    def late(timeout=None):
        if held[0]:
            raise subprocess.TimeoutExpired(CHILD, timeout)
        return wait(timeout)

    monkeypatch.setattr(process, "poll", lambda: None if held[0] else poll())
    monkeypatch.setattr(process, "wait", late)
    began_s = time.monotonic()
    child.kill()
    assert time.monotonic() - began_s < KILLED_S + 1.0
    held[0] = False
    assert left_of([psutil.Process(process.pid)]) == []
    another = Child(module=CHILD, cores=(), order=Stop())  # whoever starts the next one waits for those before
    assert not psutil.pid_exists(process.pid)
    another.kill()


def test_a_dead_child_is_not_waited_for_because_what_it_left_holds_its_stream(monkeypatch):
    left = []

    def spawn(*_, **__):
        process = subprocess.Popen(
            ["sh", "-c", "sleep 5 & echo $!; exit 3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        left.append(process)
        return process

    monkeypatch.setattr(module, "spawn", spawn)
    child = Child(module=CHILD, cores=(), order=Stop())
    left[0].wait(30.0)
    began_s = time.monotonic()
    assert child.status() == 3
    child.reap()
    assert child.status() == 3
    assert time.monotonic() - began_s < 2 * JOIN_S


TALKS = """
import signal
from infaas.host.channel import child_channel
from infaas.host.messages import BatchBegan, Ready

_, say = child_channel()
say(Ready())
for taken in range(1000):
    say(BatchBegan(limit_ms=5.0, alone=True, furthest={3: taken}))
signal.raise_signal(signal.SIGKILL)
"""


def test_what_a_child_died_in_is_known_and_did_not_come_over_its_stream(tmp_path, monkeypatch):
    (tmp_path / "talks.py").write_text(TALKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child(module="talks", cores=(), order=Stop())
    heard = []
    until_s = time.monotonic() + 60.0
    while child.status() is None and time.monotonic() < until_s:
        time.sleep(0.05)
    heard += child.heard()
    child.reap()
    assert heard == [Ready(), BatchBegan(limit_ms=5.0, alone=True, furthest={3: 999})]


def test_an_instance_that_owns_ten_thousand_partitions_can_say_how_far_each_is():
    furthest = dict.fromkeys(range(10_000), 10**12)
    descriptor = memory()
    board, reader = Board(descriptor), Board(descriptor)
    os.close(descriptor)
    began = BatchBegan(limit_ms=5.0, furthest=furthest)
    Speaker(1, board)(began)
    assert FROM_CHILD.validate_json(reader.news()) == began


HUNG = """
import signal, sys
from infaas.host.channel import child_channel
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child_channel(within_s=0.5)
print("hangs", file=sys.stderr, flush=True)
while True:
    signal.pause()
"""


def test_a_child_that_hangs_ends_after_its_supervisor():
    with subprocess.Popen(
        [sys.executable, "-c", HUNG], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr.readline() == b"hangs\n"
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.stdin.close()
        assert process.wait(30.0) == 1
