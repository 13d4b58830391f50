"""Registration commands on real Kafka: what is committed was done."""

import time

import pytest

from infaas.bus.admin import Admin
from infaas.bus.control import Commands
from infaas.bus.outbox import Outbox
from infaas.schemas.topics import REGISTRAR_GROUP, REGISTRATIONS

MANY = 400


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
