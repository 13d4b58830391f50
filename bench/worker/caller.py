"""Work for instances without a router before them: what it would refuse has to arrive, and it says where what waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from infaas.bus.outbox import Delivery, Outbox
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.settings import BusSettings
from infaas.schemas import headers as h
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import ReplyAddress, Travel, travelling

LATE_S = 10.0
BEAT_S = 0.001


@dataclass(slots=True)
class Query:
    """One piece of work, and what became of it."""

    partition: int
    deadline_ms: float
    """Epoch ms on the broker's clock."""
    appended_ms: float = 0.0
    answered_ms: float = 0.0
    """When its reply stood in its topic, on the same clock; 0 = none came."""
    answered_s: float = 0.0
    """When it was read, monotonic."""
    outcome: str = ""
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    batch_size: int = 1

    @property
    def in_time(self) -> bool:
        """Whether its answer was."""
        return self.outcome == "ok" and self.answered_ms <= self.deadline_ms

    @property
    def began_ms(self) -> float:
        """When its batch began."""
        return self.appended_ms + self.queue_ms


class Caller:
    """Produces to the partitions of one variant, and reads the replies; one thread.

    Args:
        settings: of the cell.
        variant: whose work topic.
        value: of each query.
    """

    def __init__(self, settings: BusSettings, *, variant: str, value: bytes) -> None:
        self._topic, self._value = settings.names.work(variant), value
        self._outbox = Outbox(settings, client_id="caller")
        self._replies = ReplyReader(settings, client_id="caller")
        self._address = ReplyAddress(self._replies.topic, self._replies.partition)
        self._queries: dict[str, Query] = {}
        self._number = 0
        self._outbox.learn(self._topic)

    def send(self, partition: int, objective_ms: float) -> Query:
        """One query."""
        now_ms = self._outbox.clock.now_ms()
        query = Query(partition, now_ms + objective_ms)
        self._number += 1
        name = f"caller-{self._number}"
        self._queries[name] = query
        travel = Travel(name, now_ms, query.deadline_ms, query.deadline_ms, reply=self._address)
        self._outbox.send(
            self._topic,
            value=self._value,
            headers=travelling(travel),
            partition=partition,
            on_done=partial(_appended, query),
        )
        return query

    def paced(
        self,
        rate: float,
        seconds: float,
        *,
        partitions: Sequence[int],
        objective_ms: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[Query]:
        """Open loop, over these partitions in turns; returns when all are answered or very late."""
        out: list[Query] = []
        begun, total = time.monotonic(), int(rate * seconds)
        while len(out) < total:
            due = min(total, int((time.monotonic() - begun) * rate) + 1)
            while len(out) < due:
                out.append(self.send(partitions[len(out) % len(partitions)], objective_ms))
            self.hear(BEAT_S)
            meanwhile()
        self.finish(meanwhile)
        return out

    def finish(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Waits for what is not answered yet.

        Raises:
            InfaasError: an answer does not come.
        """
        heard, waiting = time.monotonic(), len(self._queries)
        while self._queries:
            self.hear(0.01)
            meanwhile()
            if len(self._queries) < waiting:
                heard, waiting = time.monotonic(), len(self._queries)
            elif time.monotonic() - heard > LATE_S:
                raise InfaasError(f"{waiting} queries to {self._topic} are not answered")

    def hear(self, timeout: float) -> None:
        """Reads replies, waiting at most so many s for the first."""
        self._outbox.poll(0)
        for record in self._replies.poll(timeout):
            headers = record.header_map
            query = self._queries.pop(h.text(headers.get(h.QUERY_ID), h.QUERY_ID), None)
            if query is None:
                continue
            query.answered_s, query.answered_ms = time.monotonic(), record.timestamp_ms
            query.outcome = h.text(headers.get(h.OUTCOME), h.OUTCOME)
            if query.outcome == "ok":
                query.queue_ms = float(h.text(headers.get(h.QUEUE_MS), h.QUEUE_MS))
                query.inference_ms = float(h.text(headers.get(h.INFERENCE_MS), h.INFERENCE_MS))
                query.batch_size = int(h.text(headers.get(h.BATCH_SIZE), h.BATCH_SIZE))

    def close(self) -> None:
        """Leaves."""
        self._outbox.close()
        self._replies.close()


def _appended(query: Query, delivery: Delivery) -> None:
    if delivery.error is not None:
        raise delivery.error
    query.appended_ms = delivery.timestamp_ms
