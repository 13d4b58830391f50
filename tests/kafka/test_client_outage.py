"""A broker that stands still for longer than a delivery may take: a client asks again as long as somebody waits."""

import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
from answering import answer, place, queries
from processes import freeze

from infaas.client import Client
from infaas.schemas.errors import QueryTimeout

X = np.array([[1.0, 2.0]], np.float32)


def test_a_query_that_could_not_be_delivered_is_asked_again_only_while_somebody_waits(broker, hurt, hasty):
    with Client(hasty) as client:
        failures, delivered = [], client._exchange._delivered

        def watched(correlation, delivery, again):
            if delivery.error is not None:
                failures.append(correlation)
            delivered(correlation, delivery, again)

        client._exchange._delivered = watched
        freeze(broker.pid)
        try:
            futures = [
                client.submit("numbers", {"x": X}, id=f"{n}", timeout=120, raise_for_outcome=False) for n in range(5)
            ]
            impatient = client.submit("numbers", {"x": X}, timeout=1.0)
            with pytest.raises(QueryTimeout):
                impatient.result(30)
            wait_for(lambda: len(set(failures)) == 6, 30)
            assert not any(future.done() for future in futures)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        wait_for(lambda: all(asked.query_id for asked in client._exchange._open.values()), 60)
        answer(hurt, client, lambda record: [place(record)])
        assert [future.result(30).outcome for future in futures] == ["expired"] * 5
        copies = Counter(record.header_map["correlation-id"] for record in queries(hurt))
        name = client._exchange._name
        assert {f"{name}-{n}".encode() for n in range(1, 6)} <= set(copies)
        assert copies[f"{name}-6".encode()] <= 1, "nobody waits for the sixth, which is not asked again"
        again = client.submit("numbers", {"x": X}, timeout=60, raise_for_outcome=False)
        wait_for(lambda: next(iter(client._exchange._open.values())).query_id, 30)
        answer(hurt, client, lambda record: [place(record)])
        assert again.result(30).outcome == "expired"


def wait_for(true, timeout):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
