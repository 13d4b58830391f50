"""The model repository: content-addressed, on any store fsspec knows.

What is stored is named by its SHA-256, so it is never overwritten, and what is fetched is checked before it is used. Local
copies are kept in a folder of the user's alone, up to a size: beyond it those go that were not used for longest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import time
from pathlib import Path

from infaas.schemas.errors import ArtifactError, BadInput, PayloadTooLarge, StorageFull

PREFIX = "sha256:"
PART = "part-"
CACHE_BYTES = 32 * 1024**3
IN_USE_S = 600.0
"""What was fetched within this time may be about to be loaded, and stays."""


def default_url() -> str:
    """INFAAS_REPOSITORY_URL, else a folder of the user's."""
    base = os.environ.get("XDG_DATA_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "share") / "infaas" / "repository"
    return os.environ.get("INFAAS_REPOSITORY_URL") or folder.as_uri()


def default_cache() -> Path:
    """Where local copies are kept: in INFAAS_CACHE_DIR, else in the user's cache folder, where nobody else can put any."""
    base = os.environ.get("XDG_CACHE_HOME")
    user = (Path(base) if base else Path.home() / ".cache") / "infaas"
    return Path(os.environ.get("INFAAS_CACHE_DIR") or user) / "artifacts"


def private_folder(path: Path) -> Path:
    """Makes a folder that is the user's alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def digest_of(data: bytes) -> str:
    """The name of some content."""
    return PREFIX + hashlib.sha256(data).hexdigest()


class Repository:
    """Puts and fetches content by its digest."""

    def __init__(self, url: str | None = None) -> None:
        import fsspec  # with it comes asyncio: not for those who only want to know where copies are kept

        self.url = url or default_url()
        self._fs, self._root = fsspec.core.url_to_fs(self.url)

    def put(self, content: Path | bytes) -> str:
        """Stores content unless it is there; returns its digest.

        Raises:
            BadInput: if the file is not there.
            ArtifactError: if the store can't be written.
            StorageFull: if there is no room for it.
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
                part = f"{path}.{os.urandom(8).hex()}.part"  # as many write the same at once as like
                try:
                    self._fs.pipe_file(part, content)
                    self._fs.mv(part, path)
                except BaseException:
                    with contextlib.suppress(OSError):
                        self._fs.rm_file(part)
                    raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StorageFull(f"no room for {len(content)} bytes in the repository {self.url}") from error
            raise ArtifactError(f"can't write to the repository {self.url}: {error}") from error
        return digest

    def get(self, digest: str, *, limit_bytes: int | None = None) -> bytes:
        """The content of a digest.

        Args:
            digest: its name.
            limit_bytes: more is not read.

        Raises:
            ArtifactError: if it is not there, or not what its name says.
            PayloadTooLarge: if it is larger than the limit.
        """
        try:
            size = None if limit_bytes is None else self._fs.size(self._path(digest))
            if limit_bytes is not None and size is not None and size > limit_bytes:
                raise PayloadTooLarge(f"{digest} has {size} bytes, more than the {limit_bytes} that may be fetched")
            content: bytes = self._fs.cat_file(self._path(digest))
        except OSError as error:
            raise ArtifactError(f"{digest} is not in the repository {self.url} ({error})") from error
        if digest_of(content) != digest:
            raise ArtifactError(f"{digest} in {self.url} is not what its name says: it was changed or cut short")
        return content

    def fetch(self, digest: str, cache: Path, *, limit_bytes: int | None = None) -> Path:
        """A local copy, checked, kept in `cache`, which is held below a limit (INFAAS_CACHE_BYTES; 32 GiB).

        Raises:
            ArtifactError: if it is not there, not what its name says, or `cache` can't be written.
            StorageFull: if there is no room for it.
        """
        local = cache / digest.removeprefix(PREFIX)
        if local.is_file() and digest_of(local.read_bytes()) == digest:
            os.utime(local)
            return local
        content = self.get(digest)
        limit = limit_bytes if limit_bytes is not None else int(os.environ.get("INFAAS_CACHE_BYTES") or CACHE_BYTES)
        try:
            private_folder(cache)
            _make_room(cache, limit - len(content))
            _keep(content, local)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StorageFull(
                    f"no room for {digest} ({len(content)} bytes) in {cache}: {error.strerror}"
                ) from error
            raise ArtifactError(f"can't write to {cache}: {error}") from error
        return local

    def _path(self, digest: str) -> str:
        plain = digest.removeprefix(PREFIX)
        if len(plain) != 64 or not all(c in "0123456789abcdef" for c in plain):
            raise ArtifactError(f"{digest!r} is no digest (sha256:<64 hex digits>)")
        return f"{self._root.rstrip('/')}/{plain}"


def _keep(content: bytes, local: Path) -> None:
    """Writes a file whole or not at all; nothing else stays."""
    part: str | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=local.parent, prefix=PART, delete=False) as file:
            part = file.name
            file.write(content)
        Path(part).replace(local)
    except BaseException:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise


def _make_room(cache: Path, room_bytes: int) -> None:
    """Removes what was used longest ago until the rest fits, and parts that a process which was killed has left."""
    files, before = [], time.time() - IN_USE_S
    for path in cache.iterdir():
        with contextlib.suppress(OSError):  # another process makes room, too
            status = path.lstat()
            if path.is_file():
                files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for used, size, path in sorted(files):
        if used < before and (total > room_bytes or path.name.startswith(PART)):
            path.unlink(missing_ok=True)
            total -= size
