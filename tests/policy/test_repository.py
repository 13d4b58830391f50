"""Artifacts on disks that are full, and caches that are bounded and private: real files, a real file system without room."""

import os
import stat
import subprocess
import sys
import time

import pytest

from infaas.bus.repository import IN_USE_S, PART, Repository, default_cache
from infaas.registrar.settings import RegistrarSettings
from infaas.workers.settings import WorkerSettings

MIB = 1024 * 1024
FULL = """
import resource, signal, sys
from pathlib import Path
from infaas.bus.repository import Repository
from infaas.schemas.errors import StorageFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
repository, work, argument = Repository(sys.argv[1]), sys.argv[2], sys.argv[3]
try:
    repository.fetch(argument, Path(sys.argv[4])) if work == "fetch" else repository.put(b"x" * (2 << 20))
except StorageFull as error:
    assert error.retryable
    print(error)
"""


@pytest.fixture
def repository(tmp_path):
    return Repository((tmp_path / "repository").as_uri())


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def without_room(*arguments):
    """What a process says that may write 1 MiB a file, as on a disk that is full from there on."""
    ended = subprocess.run(
        [sys.executable, "-c", FULL, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return ended.stdout


def test_an_artifact_without_room_is_a_reason_that_may_pass_and_leaves_nothing(repository, tmp_path):
    digest = repository.put(b"x" * (2 * MIB))
    assert "no room" in without_room(repository.url, "fetch", digest, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_a_repository_without_room_keeps_no_part(repository, tmp_path):
    assert "no room" in without_room(repository.url, "put", "", "")
    assert files(tmp_path / "repository") == []


def test_a_cache_keeps_what_was_used_last(repository, tmp_path):
    cache = tmp_path / "cache"
    digests = [repository.put(bytes([n]) * MIB) for n in range(4)]
    for age, digest in enumerate(digests[:3]):
        local = repository.fetch(digest, cache)
        used = time.time() - IN_USE_S * (2 + age)
        os.utime(local, (used, used))
    repository.fetch(digests[2], cache)  # the oldest is used again
    repository.fetch(digests[3], cache, limit_bytes=3 * MIB)
    assert files(cache) == sorted(d.removeprefix("sha256:") for d in (digests[0], digests[2], digests[3]))


def test_what_may_be_in_use_stays_and_what_a_killed_process_left_goes(repository, tmp_path):
    cache = tmp_path / "cache"
    first, second = (repository.put(content * MIB) for content in (b"a", b"b"))
    repository.fetch(first, cache)
    old, new = cache / f"{PART}old", cache / f"{PART}new"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    repository.fetch(second, cache, limit_bytes=1)
    assert files(cache) == sorted([new.name, *(d.removeprefix("sha256:") for d in (first, second))])


def test_a_cache_is_the_users_alone_and_all_have_the_same(repository, tmp_path, monkeypatch):
    monkeypatch.delenv("INFAAS_WORKER_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("INFAAS_CACHE_DIR", raising=False)
    cache = default_cache()
    assert WorkerSettings(name="w").cache_dir == RegistrarSettings().cache_dir == cache
    assert cache.is_relative_to(tmp_path / "user")
    repository.fetch(repository.put(b"x"), cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
