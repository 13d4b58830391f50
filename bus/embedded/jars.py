"""Kafka's jars: fetched once a user, each checked against the lock file before it is ever run.

The graph is never resolved here: the lock is what Maven itself resolves. (jgo's own resolution picks a `kafka-clients` that
does not fit its broker.)
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from infaas.schemas.errors import EmbeddedBrokerError

KAFKA_VERSION = "4.3.1"
LOCK_FILE = f"kafka-{KAFKA_VERSION}.lock"
THREADS = 8
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """Its name in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def lock() -> list[Jar]:
    """The pinned jars."""
    lines = resources.files("infaas.bus.embedded").joinpath(LOCK_FILE).read_text().split("\n")
    jars = []
    for line in filter(None, map(str.strip, lines)):
        coordinates, digest = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, digest.removeprefix("sha256:")))
    return jars


def cache_dir() -> Path:
    """Where downloads are kept: INFAAS_CACHE_DIR, else the user's cache folder."""
    own = os.environ.get("INFAAS_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "infaas"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file: two processes that need the same download do it once."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure(cache: Path, progress: Callable[[str], None] | None = None) -> Path:
    """Returns the folder of all jars, fetching what is missing and refusing what does not match its checksum.

    Raises:
        EmbeddedBrokerError: if a jar can't be fetched, or is not what was pinned.
    """
    folder = cache / f"kafka-{KAFKA_VERSION}"
    marker = folder / ".verified"
    jars = lock()
    if _verified(marker, folder, jars):
        return folder
    with exclusive(cache / "jars.lock"):
        if _verified(marker, folder, jars):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        missing = [jar for jar in jars if not _matches(folder / jar.filename, jar)]
        if missing and progress:
            progress(f"fetching Kafka {KAFKA_VERSION} ({len(missing)} jars, once a user)")
        with ThreadPoolExecutor(THREADS) as pool:
            for done, _ in enumerate(pool.map(lambda jar: _fetch(jar, folder), missing), 1):
                if progress and done % 20 == 0:
                    progress(f"fetching Kafka {KAFKA_VERSION}: {done} of {len(missing)} jars")
        marker.write_text(_stamp(folder, jars))
    return folder


def _verified(marker: Path, folder: Path, jars: list[Jar]) -> bool:
    """Whether all was checked before, and no file has changed in size or time since."""
    try:
        return marker.read_text() == _stamp(folder, jars)
    except OSError:
        return False


def _stamp(folder: Path, jars: list[Jar]) -> str:
    stats = [(jar, (folder / jar.filename).stat()) for jar in jars]
    return "\n".join(f"{jar.filename} {jar.sha256} {stat.st_size} {stat.st_mtime_ns}" for jar, stat in stats)


def _matches(path: Path, jar: Jar) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _fetch(jar: Jar, folder: Path) -> None:
    """Fetches one jar into a private repository, checks it, and moves it into place."""
    repository = folder / ".maven" / jar.filename
    try:
        source = _resolve(jar, repository)
        if not _matches(source, jar):
            found = hashlib.sha256(source.read_bytes()).hexdigest()
            raise EmbeddedBrokerError(
                f"{jar.filename}: its checksum is {found}, pinned is {jar.sha256}; it was not used. "
                "Fetch again, or set INFAAS_BOOTSTRAP_SERVERS to a Kafka that runs."
            )
        source.replace(folder / jar.filename)
    finally:
        shutil.rmtree(repository, ignore_errors=True)


def _resolve(jar: Jar, repository: Path) -> Path:
    try:
        from jgo.maven import MavenContext
    except ImportError:
        raise EmbeddedBrokerError("the embedded broker needs `pip install infaas[embedded]`") from None
    repository.mkdir(parents=True, exist_ok=True)
    try:
        context = MavenContext(repo_cache=repository, timeout=TIMEOUT_S)
        found = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except Exception as error:
        raise EmbeddedBrokerError(
            f"{jar.filename} can't be fetched ({error}). Check the network, or set INFAAS_BOOTSTRAP_SERVERS to a Kafka "
            "that runs."
        ) from error
    if found is None:
        raise EmbeddedBrokerError(f"{jar.filename} can't be found. Check the network.")
    return Path(found)
