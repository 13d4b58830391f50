"""Registration commands on real Kafka: what is committed was done, and whoever takes them never waits for a broker."""

import os
import signal
import socket
import time

import pytest
from processes import freeze

from infaas.bus.admin import Admin
from infaas.bus.control import Commands
from infaas.bus.outbox import Outbox
from infaas.bus.settings import BusSettings
from infaas.schemas.topics import REGISTRAR_GROUP, REGISTRATIONS

MANY = 400
AT_ONCE_S = 0.3
"""Less than the pause between two ticks of a leader may be before it is missed."""


@pytest.fixture
def admin(settings):
    one = Admin(settings, client_id="look")
    yield one
    one.close()


def take(commands, timeout=30.0):
    deadline = time.monotonic() + timeout
    while (found := commands.start().take()) is None:
        assert time.monotonic() < deadline, "no command came"
        time.sleep(0.001)
    return found


def test_a_command_that_is_not_done_is_never_committed_with_the_one_before(settings, admin):
    """The next command is fetched while the commit of the one before is on its way."""
    topic = settings.names.of(REGISTRATIONS)
    outbox = Outbox(settings, client_id="test")
    for n in range(MANY):
        outbox.send(topic, value=str(n).encode())
    assert outbox.flush(20) == 0
    outbox.close()
    commands = Commands(settings, client_id="registrar")
    try:
        for n in range(MANY):
            in_hand = take(commands)
            assert in_hand.record.offset == n
            committed = admin.committed({topic: 1}, group=settings.names.group(REGISTRAR_GROUP))[topic, 0].offset
            assert (committed or 0) <= n, "it is still in hand"
            in_hand.done()
    finally:
        commands.stop()


def timed(act):
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def test_where_nobody_answers_starting_and_stopping_take_no_time():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = BusSettings(bootstrap_servers=f"127.0.0.1:{mute.getsockname()[1]}", session_timeout_ms=1000)
        commands = Commands(settings, client_id="registrar")
        try:
            took = [timed(act) for act in (commands.start, commands.take, commands.stop, commands.start, commands.stop)]
            assert max(took) < AT_ONCE_S
        finally:
            commands.close()


def test_a_broker_that_hangs_with_a_command_in_hand_holds_nobody_up_and_the_command_comes_again(broker, hurt):
    outbox = Outbox(hurt, client_id="test")
    outbox.send_and_wait(hurt.names.of(REGISTRATIONS), value=b"one")
    commands = Commands(hurt, client_id="registrar")
    assert take(commands).record.value == b"one"
    freeze(broker.pid)
    try:
        assert timed(commands.stop) < AT_ONCE_S
        assert commands.take() is None
        assert timed(commands.start) < AT_ONCE_S, "the one before has not left yet"
        assert commands.take() is None
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    again = take(commands)
    assert again.record.value == b"one"
    again.done()
    commands.close()
    outbox.close()


def test_a_command_that_is_done_after_its_membership_has_ended_comes_again(settings):
    outbox = Outbox(settings, client_id="test")
    outbox.send_and_wait(settings.names.of(REGISTRATIONS), value=b"one")
    outbox.close()
    commands = Commands(settings, client_id="registrar")
    in_hand = take(commands)
    commands.close()
    in_hand.done()
    again = take(commands)
    assert again.record.value == b"one"
    again.done()
    commands.close()
