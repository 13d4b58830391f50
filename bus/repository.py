"""The model repository: content-addressed, on any store fsspec knows.

What is stored is named by its SHA-256, so it is never overwritten, and what is fetched is checked before it is used.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import fsspec

from infaas.schemas.errors import ArtifactError, BadInput

PREFIX = "sha256:"


def default_url() -> str:
    """INFAAS_REPOSITORY_URL, else a folder of the user's."""
    base = os.environ.get("XDG_DATA_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "share") / "infaas" / "repository"
    return os.environ.get("INFAAS_REPOSITORY_URL") or folder.as_uri()


def digest_of(data: bytes) -> str:
    """The name of some content."""
    return PREFIX + hashlib.sha256(data).hexdigest()


class Repository:
    """Puts and fetches content by its digest."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or default_url()
        self._fs, self._root = fsspec.core.url_to_fs(self.url)

    def put(self, content: Path | bytes) -> str:
        """Stores content unless it is there; returns its digest.

        Raises:
            BadInput: if the file is not there.
            ArtifactError: if the store can't be written.
        """
        if isinstance(content, Path):
            if not content.is_file():
                raise BadInput("file", "a file that exists", str(content))
            content = content.read_bytes()
        digest = digest_of(content)
        path = self._path(digest)
        try:
            if not self._fs.exists(path):
                self._fs.makedirs(self._root, exist_ok=True)
                part = f"{path}.{os.getpid()}.part"
                self._fs.pipe_file(part, content)
                self._fs.mv(part, path)
        except OSError as error:
            raise ArtifactError(f"can't write to the repository {self.url}: {error}") from error
        return digest

    def get(self, digest: str) -> bytes:
        """The content of a digest.

        Raises:
            ArtifactError: if it is not there, or not what its name says.
        """
        try:
            content: bytes = self._fs.cat_file(self._path(digest))
        except OSError as error:
            raise ArtifactError(f"{digest} is not in the repository {self.url} ({error})") from error
        if digest_of(content) != digest:
            raise ArtifactError(f"{digest} in {self.url} is not what its name says: it was changed or cut short")
        return content

    def fetch(self, digest: str, cache: Path) -> Path:
        """A local copy, checked, kept in `cache`.

        Raises:
            ArtifactError: if it is not there, or not what its name says.
        """
        local = cache / digest.removeprefix(PREFIX)
        if local.is_file() and digest_of(local.read_bytes()) == digest:
            return local
        content = self.get(digest)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as part:
            part.write(content)
        Path(part.name).replace(local)
        return local

    def _path(self, digest: str) -> str:
        plain = digest.removeprefix(PREFIX)
        if len(plain) != 64 or not all(c in "0123456789abcdef" for c in plain):
            raise ArtifactError(f"{digest!r} is no digest (sha256:<64 hex digits>)")
        return f"{self._root.rstrip('/')}/{plain}"
