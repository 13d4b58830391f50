"""A decision made again, for a query that left no record of it: the same judgement on what the topics still hold.

It stands on the metadata as it was when the query came, and on what workers reported in the seconds before. What only the router
knew is not in any topic: its own sends since the last reports, what it had learned of starts, and the moment at which it came
to the query. So a near miss may turn out the other way; who could have served it, and what bound, does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infaas.bus.record import Record
from infaas.router.candidates import Catalogue
from infaas.router.explain import explain, explain_unread
from infaas.router.incoming import Envelope, Reader
from infaas.router.judgement import judge
from infaas.router.load import Load
from infaas.schemas.decisions import DecisionRecord
from infaas.schemas.errors import InfaasError
from infaas.schemas.headers import ReplyAddress
from infaas.schemas.reports import AnyReport, Backlog, WorkerReport
from infaas.store.picture import Picture
from infaas.store.view import View


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A decision as it should have been made, and what it stands on."""

    record: DecisionRecord
    reports: int
    """Of workers, before the query came; without any, all that runs is taken to have nothing to do."""


class _Anywhere:
    """Whether a reply address is a good one is not asked again."""

    def check(self, address: ReplyAddress) -> ReplyAddress:
        return address


def reconstruct(
    query: Record, metadata: Iterable[Record], reports: Sequence[tuple[AnyReport, float]]
) -> Reconstruction | None:
    """What a router should have decided when the query came; None if no metadata reaches so far back.

    Args:
        query: as it stands in its topic.
        metadata: all records that are there, oldest first.
        reports: telemetry with the topic's time of each, epoch ms, oldest first.
    """
    at_ms = query.timestamp_ms
    view = _view_at(metadata, at_ms)
    if not view.offset:
        return None
    load, heard = Load(), 0
    for report, reported_ms in reports:
        if reported_ms <= at_ms and isinstance(report, Backlog | WorkerReport):
            load.report(report, view, reported_ms)
            heard += 1
    envelope = Envelope(query, ReplyAddress())
    try:
        incoming = Reader(_Anywhere()).read(envelope, at_ms)
    except InfaasError as error:
        return Reconstruction(explain_unread(envelope, error, view_offset=view.offset, now_ms=at_ms), heard)
    judgement = judge(
        incoming,
        Catalogue(view.variants, view.architectures),
        lambda variants: load.scene(view, variants, at_ms),
        at_ms,
    )
    return Reconstruction(explain(incoming, judgement, view_offset=view.offset, now_ms=at_ms), heard)


def _view_at(metadata: Iterable[Record], at_ms: float) -> View:
    """The picture of all that was written by then."""
    picture = Picture()
    for record in metadata:
        if record.timestamp_ms > at_ms:
            break
        picture.apply(picture.read(record))
    return picture.view()
