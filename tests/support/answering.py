"""Answers to a client's queries, written by a test in place of routers and workers."""

from __future__ import annotations

from infaas.bus.admin import Admin
from infaas.bus.outbox import Outbox
from infaas.bus.span import SpanReader
from infaas.schemas.topics import QUERIES


def queries(settings) -> list:
    """All that stands in the query log."""
    admin, reader = Admin(settings, client_id="look"), SpanReader(settings, client_id="look")
    ends = admin.watermarks({settings.names.of(QUERIES): QUERIES.partitions})
    found = [record for (topic, p), (low, end) in ends.items() for record in reader.read(topic, p, low, end)]
    reader.close()
    admin.close()
    return found


def answer(settings, client, query_ids_of) -> None:
    """Answers each query in the log with `expired`, under whatever query ids the test makes of its place."""
    outbox, reader = Outbox(settings, client_id="forger"), client._exchange._reader
    for record in queries(settings):
        for name in query_ids_of(record):
            headers = [("infaas-outcome", b"expired"), ("infaas-query-id", name.encode())]
            headers.append(("correlation-id", record.header_map["correlation-id"]))
            outbox.send_and_wait(reader.topic, value=b'{"error": "e"}', headers=headers, partition=reader.partition)
    outbox.close()


def place(record) -> str:
    """The query id: where it stands."""
    return f"{record.topic}-{record.partition}-{record.offset}"
