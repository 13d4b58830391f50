"""Hostile records between good ones, through the real services: nothing may end, nothing be silent, no neighbour wait.

One query in ten is good and has 5 s. What counts is in the log afterwards: every record that Kafka took has a reply or a dead
letter, whatever it was.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field

from infaas.bench import checker
from infaas.bench.crashes import instance_deaths
from infaas.bench.grammar import Grammar, HostileRecord
from infaas.bench.history import History
from infaas.bench.model import Network, inputs, validation_of
from infaas.bench.observer import Observer
from infaas.bench.own_stack import own_stack
from infaas.bench.raw_producer import RawProducer
from infaas.bus.admin import Admin
from infaas.cli.console import progress
from infaas.cli.stack import Shape, Stack
from infaas.client import Client, Reply, follow
from infaas.schemas.errors import PayloadTooLarge, QueueFull
from infaas.schemas.topics import QUERIES, REPLIES

APPLICATION = "points"
NEIGHBOUR_EVERY = 10
NEIGHBOUR_MS = 5_000.0
RATE = 200.0
QUIET_S = 10.0
"""Without a further answer for so long, what is open stays so."""
QUIESCE_S = 120.0
FLUSH_S = 60.0


@dataclass(slots=True)
class Run:
    """What has been sent, and what ended meanwhile."""

    sent: int = 0
    refused: int = 0
    """By the producer itself, or by the broker: they never stood in the log."""
    restarts: list[str] = field(default_factory=list)
    neighbours: list[Future[Reply]] = field(default_factory=list)


def hostile(seed: int = 0, count: int = 10_000) -> dict[str, object]:
    """Sends, waits, counts."""
    with own_stack(Shape(workers=2, cores=1, idle_s=3600)) as stack:
        elsewhere = f"{APPLICATION}-answers"
        admin = Admin(stack.settings, client_id="hostile")
        admin.make_topics({elsewhere: 2})
        admin.close()
        with Observer(stack.settings, reply_topics=[elsewhere]) as observer:
            return attack(stack, observer, seed=seed, count=count, elsewhere=elsewhere)


def attack(stack: Stack, observer: Observer, *, seed: int, count: int, elsewhere: str) -> dict[str, object]:
    """The run against a stack that is up; returns the figures."""
    settings, names = stack.settings, stack.settings.names
    grammar = Grammar(
        seed, application=APPLICATION, reply_topics=[names.of(REPLIES), elsewhere], max_bytes=settings.max_query_bytes
    )
    run = Run()
    with Client(settings, repository_url=stack.repository_url) as client:
        _register(stack, client)
        progress(f"{count} hostile records, seed {seed}, about {RATE:g} a second")
        with RawProducer(settings.bootstrap_servers, client_id="hostile") as producer:
            _send(stack, client, producer, grammar, run, count)
            deadline = time.monotonic() + FLUSH_S
            while producer.flush(0.05) and time.monotonic() < deadline:
                run.restarts += stack.step()
        history = _quiesce(stack, observer, run)
        in_time = sum(1 for future in run.neighbours if _is_in_time(future, history))
        return _figures(history, observer, run, in_time)


def _register(stack: Stack, client: Client) -> None:
    network = Network.of()
    found = client.register(
        "tiny", application=APPLICATION, model=network.onnx(), validation_set=validation_of(network), max_batch=8, cores=(1,),
        generators=("onnx",),
    )  # fmt: skip
    for _ in follow(stack.settings, "tiny", found.version, timeout=120):
        stack.step()
    client.infer(APPLICATION, {"x": inputs(1)}, latency_ms=60_000)


def _send(stack: Stack, client: Client, producer: RawProducer, grammar: Grammar, run: Run, count: int) -> None:
    topic, row, begun = stack.settings.names.of(QUERIES), inputs(1), time.monotonic()
    for n in range(count):
        if n % NEIGHBOUR_EVERY == 0:
            asked = client.submit(APPLICATION, {"x": row}, latency_ms=NEIGHBOUR_MS, raise_for_outcome=False)
            run.neighbours.append(asked)
        _send_one(producer, topic, grammar.draw(), run)
        run.restarts += stack.step()
        while time.monotonic() < begun + n / RATE:
            producer.poll(0.002)
        if n % 1000 == 999:
            progress(f"{n + 1} sent, restarts: {dict(Counter(run.restarts)) or 'none'}")


def _send_one(producer: RawProducer, topic: str, record: HostileRecord, run: Run) -> None:
    while True:
        try:
            producer.send(topic, value=record.value, key=record.key, headers=record.headers)
        except QueueFull:
            producer.poll(0.01)
        except PayloadTooLarge:
            run.refused += 1
            return
        else:
            run.sent += 1
            return


def _quiesce(stack: Stack, observer: Observer, run: Run) -> History:
    """Waits until all is answered, or nothing more comes."""
    begun = changed = time.monotonic()
    before = -1
    while True:
        run.restarts += stack.step()
        observer.catch_up(5.0)
        history = observer.history()
        open_ = len(checker.open_queries(history))
        now = time.monotonic()
        if open_ != before:
            before, changed = open_, now
            progress(f"{open_} without an answer yet")
        if (open_ == 0 and all(f.done() for f in run.neighbours)) or now > changed + QUIET_S or now > begun + QUIESCE_S:
            return history


def _is_in_time(future: Future[Reply], history: History) -> bool:
    if not future.done() or future.exception() is not None:
        return False
    reply = future.result()
    query = next((q for q in history.queries if q.position == reply.query_id), None)
    return query is not None and checker.in_time(query, [r for r in history.replies if r.query == reply.query_id])


def _figures(history: History, observer: Observer, run: Run, in_time: int) -> dict[str, object]:
    silent = checker.open_queries(history)
    first = {query.partition: query for query in reversed(silent)}  # what stands first may be what holds up the rest
    for query in first.values():
        names = {name: value[:40] for name, value in query.headers.items() if name.startswith(("infaas", "inference"))}
        progress(f"silent: {query.position} {names} {(query.value or b'')[:80]!r}")
    for outcome, n in Counter(
        r.text("infaas-outcome") + " " + r.text("infaas-reason") for r in history.replies
    ).most_common():
        progress(f"{n:6} {outcome}")
    deaths = instance_deaths(observer.metadata())
    progress(f"services started again: {dict(Counter(run.restarts)) or 'none'}; instances that died: {deaths}")
    progress(
        f"refused before they stood in the log: {run.refused + run.sent + len(run.neighbours) + 1 - len(history.queries)}"
    )
    return {
        "sent": run.sent,
        "answered": len({r.query for r in history.replies}),
        "dead_lettered": len(history.dead_letters),
        "silent": len(silent),
        "crashes": len(run.restarts) + deaths,
        "neighbours_sent": len(run.neighbours),
        "neighbours_ok_in_time": in_time,
    }
