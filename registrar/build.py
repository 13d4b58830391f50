"""`python -m infaas.registrar.build`: makes, checks and measures one variant, as a child of the supervisor it is built on.

1. Fetch source and validation set.
2. Make the artifact and compute its accuracy, in a process of its own (generate.py).
3. Load it as an instance would; measure load time.
4. Measure the latency curve, each point told as soon as it is there: what was told before is not measured again.
5. Read the peak memory of this process, which by now has done all that an instance does but talk to Kafka, and little else.
6. Measure what an instance takes beside its model (path.py), if that is not known of this machine.
7. Store the artifact; tell what was found.
A disk without room is a reason that may pass: the build says so and is tried again. A need of more memory than the limit is
the model's, and fails with the limit's name. A build has nothing to bring in order: it ends at once when it is told to or when its supervisor is gone, and its generator
with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from infaas.bus.repository import Repository, private_folder
from infaas.engines import engine
from infaas.host.channel import Inbox, Speaker, child_channel
from infaas.host.deadlines import HEARTBEAT_S
from infaas.host.endings import ending
from infaas.host.limits import has_room, lacks_memory, lacks_room, no_room, told
from infaas.host.messages import Alive, Failed, Finished, Measured, Message, ToChild
from infaas.host.messages import Build as Order
from infaas.host.process import Stop, run_service
from infaas.host.spawn import spawn
from infaas.registrar.memory import peak_bytes
from infaas.registrar.path import Paths
from infaas.registrar.profiler import measure
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import Built
from infaas.schemas.oip import Array

ORDER_S = 10.0
GENERATE = "infaas.registrar.generate"
GENERATE_S = 1800.0
FOLDER = "infaas-build-"
LIMIT = "INFAAS_WORKER_BUILD_LIMIT_BYTES"
"""The setting of the supervisor that limits a build's memory."""
CLIENT_BYTES = 16 * 1024 * 1024
"""What an instance's Kafka clients take beside its engine: measured 9 MB when idle, and a fetch queue that may fill."""


class Build:
    """One build.

    Args:
        order: from the supervisor.
        inbox: closed when it is gone.
        say: how it hears of us.
    """

    def __init__(self, order: Order, inbox: Inbox[ToChild], say: Speaker) -> None:
        self._variant, self._worker, self._done = order.variant, order.worker, order.done
        self._inbox, self._speaker = inbox, say
        self._repository = Repository(order.repository_url or None)
        self._cache = Path(order.cache_dir)

    def run(self) -> None:
        """Makes, checks, measures.

        Raises:
            InfaasError: why it failed.
        """
        recipe = self._variant.recipe
        source = self._repository.fetch(recipe.source_digest, self._cache)
        validation = self._repository.fetch(self._variant.validation_digest, self._cache)
        builds = private_folder(self._cache.parent / "builds")
        _sweep(builds)
        with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-", dir=builds) as folder:
            artifact, sample = Path(folder) / "artifact", Path(folder) / "sample.npz"
            result = self._generate(source, validation, artifact, sample)
            if "not_applicable" in result:
                self._finish(
                    Built(
                        variant=self._variant.variant,
                        worker=self._worker,
                        outcome="not_applicable",
                        reason=result["not_applicable"],
                    )
                )
                return
            if "no_room" in result:
                raise no_room(builds, f"the build of {self._variant.variant}")
            if "failed" in result:
                self._say(Failed(reason=result["failed"]))
                return
            names = [spec.name for spec in self._variant.contract.inputs]
            with np.load(sample, allow_pickle=False) as rows:
                self._measure(artifact, {name: rows[f"arr_{i}"] for i, name in enumerate(names)}, result, sample)

    def _generate(self, source: Path, validation: Path, artifact: Path, sample: Path) -> dict[str, Any]:
        recipe = self._variant.recipe
        order = {
            "parent": os.getpid(),
            "generator": recipe.generator,
            "source": str(source),
            "target": str(artifact),
            "sample": str(sample),
            "sample_rows": recipe.max_batch,
            "validation": str(validation),
            "contract": self._variant.contract.model_dump(mode="json"),
            "engine": recipe.engine,
            "platform": recipe.platform,
            "cores": recipe.cores,
        }
        pipe = subprocess.PIPE
        # What libraries keep in temporary files is the build's, and goes with it.
        more = {"TMPDIR": str(artifact.parent)}
        with spawn(GENERATE, stdin=pipe, stdout=pipe, stderr=pipe, environment=more) as process:
            try:
                out, errors = process.communicate(orjson.dumps(order) + b"\n", GENERATE_S)
            finally:
                process.kill()
        if process.returncode != 0 or not out.strip():
            if not has_room(artifact.parent, source.stat().st_size):
                return {"no_room": "the generator ended"}
            words = errors.decode(errors="replace").strip()
            last = (words.splitlines() or ["nothing said"])[-1]
            why = f"the generator {ending(process.returncode)}: {last}"
            return {"failed": told(why, LIMIT) if lacks_memory(words) else why}
        result: dict[str, Any] = orjson.loads(out.strip().splitlines()[-1])
        return result

    def _measure(self, artifact: Path, rows: Mapping[str, Array], result: Mapping[str, Any], sample: Path) -> None:
        variant, recipe = self._variant, self._variant.recipe
        loaded = engine(recipe.engine)
        loaded.load(artifact, platform=recipe.platform, cores=recipe.cores)  # imports the engine's library, too
        loaded.close()
        start = time.perf_counter()
        loaded.load(artifact, platform=recipe.platform, cores=recipe.cores)
        loaded.run({spec.name: rows[spec.name][:1] for spec in variant.contract.inputs})
        load_ms = (time.perf_counter() - start) * 1000.0
        # Where another's input would change an answer, each query runs by itself: no other batch is measured, so none is formed.
        max_batch = 1 if result["changed_by"] else recipe.max_batch
        for point in measure(loaded, variant.contract, rows, max_batch=max_batch, done=self._done):
            self._say(Measured(point=point))
            if self._inbox.closed:
                return  # nobody listens any more
        peak = peak_bytes() + CLIENT_BYTES  # before the artifact is read, which serving never does
        path = Paths(self._cache.parent / "paths").cost(variant.contract, sample, max_batch)
        content = artifact.read_bytes()
        built = Built(
            variant=variant.variant,
            worker=self._worker,
            outcome="built",
            artifact_digest=self._repository.put(content),
            size_bytes=len(content),
            load_ms=load_ms,
            peak_memory_bytes=peak,
            accuracy=result["accuracy"],
            agreement=result["agreement"],
            path=path,
            batch_invariant=not result["changed_by"],
            reason=f"one query at a time: {result['changed_by']} beside it change its answer"
            if result["changed_by"]
            else "",
        )
        self._finish(built)

    def _finish(self, built: Built) -> None:
        self._say(Finished(built=built))

    def _say(self, message: Message) -> None:
        self._speaker(message)


def _sweep(builds: Path) -> None:
    """Removes what builds that were killed have left."""
    for left in builds.glob(f"{FOLDER}*"):
        pid = left.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _beat(say: Speaker) -> None:
    """Says that the process runs; what it does has limits of its own."""
    while True:
        say(Alive())
        time.sleep(HEARTBEAT_S)


def main(_: Stop) -> None:
    """Builds what the supervisor orders."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    inbox, say = child_channel()
    order = inbox.wait(ORDER_S)
    if not isinstance(order, Order):
        return
    threading.Thread(target=_beat, args=(say,), daemon=True).start()
    try:
        Build(order, inbox, say).run()
    except (InfaasError, OSError, MemoryError, subprocess.TimeoutExpired) as error:
        say(_failed(error, Path(order.cache_dir).parent))


def _failed(error: Exception, folder: Path) -> Failed:
    """What a build can't go on for, and whether that may pass."""
    if lacks_room(error) and not isinstance(error, InfaasError):
        error = no_room(folder, "a build")
    if isinstance(error, InfaasError) and error.retryable:
        return Failed(reason=str(error), code=error.code, retryable=True)
    return Failed(reason=f"{type(error).__name__}: {told(error, LIMIT)}")


if __name__ == "__main__":
    sys.exit(run_service(main))
