"""The registrar's side of a check: starts the process, and never waits for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import orjson

from infaas.bus.repository import Repository
from infaas.registrar.settings import RegistrarSettings
from infaas.schemas.commands import RegisterModel
from infaas.schemas.contract import Contract
from infaas.schemas.errors import ArtifactError, BadModel

MODULE = "infaas.registrar.check"


class Checking:
    """One check under way.

    Raises:
        BadModel: at once, if an artifact is not in the repository or too large.
    """

    def __init__(self, command: RegisterModel, *, repository: Repository, own: RegistrarSettings) -> None:
        self._own = own
        self._deadline = time.monotonic() + own.check_s
        artifact = _fetch(repository, "artifact", command.artifact, own.cache_dir)
        validation = _fetch(repository, "validation_set", command.validation_set, own.cache_dir)
        if artifact.stat().st_size > own.max_artifact_bytes:
            raise BadModel("artifact", f"at most {own.max_artifact_bytes} bytes", artifact.stat().st_size)
        order = {
            "artifact": str(artifact),
            "validation": str(validation),
            "validation_digest": command.validation_set,
            "labels": command.labels,
            "memory_bytes": own.check_memory_bytes,
            "max_validation_bytes": own.max_validation_bytes,
            "cpu_s": own.check_s,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(orjson.dumps(order) + b"\n")
            self._process.stdin.close()

    def result(self) -> Contract | None:
        """The contract; None while the check is under way.

        Raises:
            BadModel: what is wrong, naming the field.
        """
        status = self._process.poll()
        if status is None and time.monotonic() < self._deadline:
            return None
        if status is None:
            self.end()
            raise BadModel("artifact", f"a model that can be checked within {self._own.check_s:g} s")
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        self._process.stdout.close()
        if status != 0 or not said:
            limit = f"{self._own.check_s:g} s and {self._own.check_memory_bytes} bytes of memory"
            raise BadModel("artifact", f"a model that can be checked within {limit}", f"an end with status {status}")
        found = orjson.loads(said)
        if "error" in found:
            raise BadModel(found["error"]["field"], found["error"]["expected"], found["error"]["found"])
        return Contract.model_validate(found["contract"])

    def end(self) -> None:
        """Ends the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _fetch(repository: Repository, field: str, digest: str, cache: Path) -> Path:
    try:
        return repository.fetch(digest, cache)
    except ArtifactError as error:
        raise BadModel(field, f"a digest that is in the repository {repository.url}", str(error)) from error
