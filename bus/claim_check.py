"""Claim check, of queries and of replies: a value too large for its topic is stored, and the record carries its digest.

Only a digest travels, never an address: a caller can't make a worker read from anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from infaas.bus.repository import Repository, default_url
from infaas.bus.settings import BusSettings
from infaas.schemas.headers import CLAIM_CHECK, HeaderList, text

ENVELOPE_BYTES = 4 * 1024  # key and headers count towards the topic's limit


class ClaimCheck:
    """Stores and fetches large values.

    Args:
        settings: of the cell; without `payload_url` values are put beside the repository's models.
    """

    def __init__(self, settings: BusSettings) -> None:
        self._limit = settings.max_query_bytes - ENVELOPE_BYTES
        self._fetch_limit = settings.max_payload_bytes
        self._url = settings.payload_url
        self._store: Repository | None = None

    def put(self, value: bytes) -> tuple[bytes, HeaderList]:
        """What is to be sent in place of a value: itself if it is small enough.

        Raises:
            ArtifactError: if the store can't be written.
        """
        if len(value) <= self._limit:
            return value, []
        return b"", [(CLAIM_CHECK, self._repository().put(value).encode())]

    def get(self, value: bytes, headers: Mapping[str, bytes | str | None]) -> bytes:
        """The value that was sent.

        Raises:
            BadHeader: if the reference is no text.
            ArtifactError: if the store has not got it, or not whole.
            PayloadTooLarge: if it is larger than anybody may make us fetch.
        """
        if CLAIM_CHECK not in headers:
            return value
        return self._repository().get(text(headers[CLAIM_CHECK], CLAIM_CHECK), limit_bytes=self._fetch_limit)

    def _repository(self) -> Repository:
        if self._store is None:
            self._store = Repository(self._url or f"{default_url().rstrip('/')}/payloads")
        return self._store
