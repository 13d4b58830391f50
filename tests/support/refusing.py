"""A delivery that fails when it is wanted: real ones fail when a broker likes."""

from __future__ import annotations

from infaas.bus.outbox import Delivery, Outbox
from infaas.schemas.errors import DeliveryFailed


def refuse_once(outbox: Outbox, wanted: str) -> list[str]:
    """Of this key the first record is not confirmed, as when a broker is away for longer than a delivery may take.

    Returns what was refused so far; who sent it is told in the next `poll`, as of any delivery.
    """
    send, poll, refused, untold = outbox.send, outbox.poll, [], []

    def flaky_send(topic, *, key=None, on_done=None, **more):
        if key == wanted and not refused:
            refused.append(key)
            untold.append((on_done, Delivery(topic, 0, -1, 0.0, DeliveryFailed("not confirmed in time"))))
        else:
            send(topic, key=key, on_done=on_done, **more)

    def telling_poll(timeout=0.0):
        while untold:
            on_done, delivery = untold.pop()
            if on_done is not None:
                on_done(delivery)
        poll(timeout)

    outbox.send, outbox.poll = flaky_send, telling_poll
    return refused
