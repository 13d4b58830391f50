"""The registrar's side of a check: starts the process, and never waits for it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from typing import IO

import orjson

from infaas.host.spawn import spawn
from infaas.registrar.settings import RegistrarSettings
from infaas.schemas.commands import RegisterModel
from infaas.schemas.contract import Contract
from infaas.schemas.errors import BadModel, MissingDependency

MODULE = "infaas.registrar.check"


class Checking:
    """One check under way; order and answer go through files, so that neither side can block the other."""

    def __init__(self, command: RegisterModel, *, repository_url: str, own: RegistrarSettings) -> None:
        self._limits = f"{own.check_s:g} s and {own.check_memory_bytes} bytes of memory"
        self._deadline = time.monotonic() + own.check_s
        order = {
            "parent": os.getpid(),
            "repository_url": repository_url,
            "cache_dir": str(own.cache_dir),
            "artifact": command.artifact,
            "validation_set": command.validation_set,
            "labels": command.labels,
            "max_artifact_bytes": own.max_artifact_bytes,
            "max_validation_bytes": own.max_validation_bytes,
            "memory_bytes": own.check_memory_bytes,
            "cpu_s": own.check_s,
        }
        self._answers: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        with tempfile.TemporaryFile() as stdin:
            stdin.write(orjson.dumps(order) + b"\n")
            stdin.seek(0)
            # Each thread of a linear algebra library reserves address space, which is limited.
            self._process = spawn(MODULE, stdin=stdin, stdout=self._answers, stderr=subprocess.DEVNULL, threads=1)

    def result(self) -> Contract | None:
        """The contract; None while the check is under way.

        Raises:
            BadModel: what is wrong, naming the field.
            MissingDependency: what it takes to read models is not installed.
        """
        status = self._process.poll()
        if status is None and time.monotonic() < self._deadline:
            return None
        self._answers.seek(0)
        lines = self._answers.read().splitlines()
        self.end()
        if status != 0 or not lines:
            ended = "no end in time" if status is None else f"an end with status {status}"
            raise BadModel("artifact", f"a model that can be checked within {self._limits}", ended)
        answer = orjson.loads(lines[-1])
        if "error" in answer:
            raise BadModel(answer["error"]["field"], answer["error"]["expected"], answer["error"]["found"])
        if "missing" in answer:
            raise MissingDependency(answer["missing"])
        return Contract.model_validate(answer["contract"])

    def end(self) -> None:
        """Ends the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._answers.close()
