"""Claim check, of queries and of replies: a value too large for its topic is stored, and the record carries its digest.

Only a digest and a day travel, never an address: a caller can't make a worker read from anywhere else. Values are put in a
folder of the day, and a folder goes as a whole some days later, when nobody can want it any more. So a value that is put again
is kept as long as any, nobody sweeps where somebody writes, and nothing rests on what a store says of the age of its files.
Whoever puts also sweeps, a few values at a time, so that what is there stays in proportion to what was put lately.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

from infaas.bus.repository import Repository, default_url
from infaas.bus.settings import BusSettings
from infaas.bus.sweep import Sweep
from infaas.schemas.errors import BadHeader
from infaas.schemas.headers import CLAIM_CHECK, HeaderList, text

ENVELOPE_BYTES = 4 * 1024  # headers count towards the topic's limit
_REFERENCE = re.compile(r"(?P<digest>sha256:[0-9a-f]{64})(@(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2}))?")


class ClaimCheck:
    """Stores and fetches large values; safe to use from many threads.

    Args:
        settings: of the cell; without `payload_url` values are put beside the repository's models.
        now_s: epoch seconds.
    """

    def __init__(self, settings: BusSettings, *, now_s: Callable[[], float] = time.time) -> None:
        self._limit = settings.max_query_bytes - ENVELOPE_BYTES
        self._fetch_limit = settings.max_payload_bytes
        self._kept = timedelta(days=settings.payload_days)
        self._url = settings.payload_url
        self._now_s = now_s
        self._stores: dict[str, Repository] = {}
        self._sweep: Sweep | None = None  # made when there is something to put: a small value needs no store
        self.fetch_limit_ms = settings.payload_fetch_ms
        """How long a fetch may take before whoever waits for it is taken for hung."""

    def put(self, value: bytes, *, beside: bytes | None = None) -> tuple[bytes, HeaderList]:
        """What is to be sent in place of a value: itself if it is small enough.

        Args:
            value: of the record.
            beside: the record's key, which counts towards the topic's limit as well.

        Raises:
            ArtifactError: if the store can't be written.
        """
        if len(value) + len(beside or b"") <= self._limit:
            return value, []
        today = datetime.fromtimestamp(self._now_s(), UTC).date()
        digest = self._store(today.isoformat()).put(value)
        self._make_room(today)
        return b"", [(CLAIM_CHECK, f"{digest}@{today.isoformat()}".encode())]

    def get(self, value: bytes, headers: Mapping[str, bytes | str | None]) -> bytes:
        """The value that was sent.

        Raises:
            BadHeader: if the reference is none.
            ArtifactError: if the store has not got it, or not whole.
            PayloadTooLarge: if it is larger than anybody may make us fetch.
        """
        if CLAIM_CHECK not in headers:
            return value
        raw = text(headers[CLAIM_CHECK], CLAIM_CHECK)
        reference = _REFERENCE.fullmatch(raw)
        if reference is None:
            raise BadHeader(CLAIM_CHECK, "sha256:<64 hex digits>@<year>-<month>-<day>", raw)
        return self._store(reference["day"] or "").get(reference["digest"], limit_bytes=self._fetch_limit)

    def _store(self, folder: str) -> Repository:
        """The values of a day; without one, those that somebody has put by hand, who sees to them as well."""
        store = self._stores.get(folder)
        if store is None:
            if len(self._stores) > self._kept.days:  # callers say days as well: bounded
                self._stores.clear()
            store = self._stores[folder] = Repository(f"{self._root}/{folder}".rstrip("/"))
        return store

    @property
    def _root(self) -> str:
        return (self._url or f"{default_url().rstrip('/')}/payloads").rstrip("/")

    def _make_room(self, today: date) -> None:
        if self._sweep is None:
            self._sweep = Sweep(self._root)
        self._sweep.step(before=(today - self._kept).isoformat(), now_s=self._now_s())
