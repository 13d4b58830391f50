"""What an instance costs beside its model: measured once a machine and kind of query, and kept in a file.

It depends on what is asked (how large a query is, and in how large batches it is answered) and on where, not on the model.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import orjson

from infaas.bus.repository import private_folder
from infaas.host.endings import ending
from infaas.host.spawn import spawn
from infaas.schemas.contract import Contract
from infaas.schemas.profile import PathCost

log = logging.getLogger(__name__)
MODULE = "infaas.workers.path"
MEASURE_S = 60.0


class Paths:
    """What was measured on this machine.

    Args:
        folder: where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cost(self, contract: Contract, sample: Path, max_batch: int) -> PathCost:
        """Measures it if it is not known; nothing if it can't be measured, which fails no build: live figures correct it.

        Args:
            contract: what goes in and comes out.
            sample: a few rows, as `generate` writes them.
            max_batch: of the variant.
        """
        kept = self._folder / f"{_name(contract, max_batch)}.json"
        if kept.exists():
            return PathCost.model_validate_json(kept.read_bytes())
        try:
            found = _measured(contract, sample, max_batch)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            log.warning("what an instance costs beside its model is not known", extra={"error": str(error)})
            return PathCost()
        private_folder(self._folder)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_bytes(found.model_dump_json().encode())
        part.replace(kept)  # whole or not at all: other builds read it
        return found


def _name(contract: Contract, max_batch: int) -> str:
    tensors = [spec.model_dump(mode="json") for spec in (*contract.inputs, *contract.outputs)]
    of_what = [tensors, max_batch, version("infaas"), sys.version]
    return sha256(orjson.dumps(of_what)).hexdigest()


def _measured(contract: Contract, sample: Path, max_batch: int) -> PathCost:
    order = {
        "parent": os.getpid(),
        "contract": contract.model_dump(mode="json"),
        "sample": str(sample),
        "max_batch": max_batch,
    }
    pipe = subprocess.PIPE
    with spawn(MODULE, stdin=pipe, stdout=pipe, stderr=pipe, environment={"TMPDIR": str(sample.parent)}) as process:
        try:
            out, errors = process.communicate(orjson.dumps(order) + b"\n", MEASURE_S)
        finally:
            process.kill()
    if process.returncode != 0 or not out.strip():
        last = (errors.decode(errors="replace").strip().splitlines() or ["nothing said"])[-1]
        raise ValueError(f"it {ending(process.returncode)}: {last}")
    return PathCost.model_validate_json(out.strip().splitlines()[-1])
