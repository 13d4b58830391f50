"""`python -m infaas.registrar.build`: makes, checks and measures one variant, as a child of the supervisor it is built on.

1. Fetch source and validation set.
2. Make the artifact, in a process of its own.
3. Load it as an instance would; measure load time.
4. Compute accuracy on the validation set, and the agreement with the source.
5. Measure the latency curve, each point told as soon as it is there: what was told before is not measured again.
6. Store the artifact; tell what was found, with the peak memory of this process, which has done all that serving does.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson

from infaas.bus.channel import Inbox, Message, child_channel, tell
from infaas.bus.process import Stop, run_service
from infaas.bus.repository import Repository
from infaas.registrar.accuracy import accuracy, predictions, scored_rows
from infaas.registrar.check import LABELS, read_validation
from infaas.registrar.profiler import measure
from infaas.schemas import metadata
from infaas.schemas.errors import InfaasError
from infaas.schemas.metadata import Variant
from infaas.schemas.oip import Array
from infaas.schemas.profile import BatchPoint
from infaas.workers.engines import engine

ORDER_S = 10.0
VALIDATION_LIMIT = 4 * 1024**3
GENERATE_S = 1800.0
KIB = 1024


class Build:
    """One build.

    Args:
        order: from the supervisor.
        inbox: closed when it is gone.
        descriptor: where it listens.
    """

    def __init__(self, order: Message, inbox: Inbox, descriptor: int) -> None:
        variant = metadata.decode(order["variant"].encode())
        assert isinstance(variant, Variant)
        self._variant, self._inbox, self._descriptor = variant, inbox, descriptor
        self._done = {int(b): BatchPoint.model_validate(p) for b, p in order["done"].items()}
        self._repository = Repository(order["repository_url"] or None)
        self._cache = Path(order["cache_dir"])

    def run(self) -> None:
        """Makes, checks, measures.

        Raises:
            InfaasError: why it failed.
        """
        recipe = self._variant.recipe
        source = self._repository.fetch(recipe.source_digest, self._cache)
        validation = self._repository.fetch(self._variant.validation_digest, self._cache)
        with tempfile.TemporaryDirectory(prefix="infaas-build-") as folder:
            artifact, before = Path(folder) / "artifact", Path(folder) / "predictions.npy"
            refused = self._generate(source, validation, artifact, before)
            if refused:
                ((outcome, reason),) = refused.items()
                self._say({"said": outcome, "reason": reason})
                return
            self._measure(artifact, scored_rows(read_validation(validation, limit=VALIDATION_LIMIT)), np.load(before))

    def _generate(self, source: Path, validation: Path, artifact: Path, before: Path) -> dict[str, str]:
        recipe = self._variant.recipe
        order = {
            "generator": recipe.generator,
            "source": str(source),
            "target": str(artifact),
            "predictions": str(before),
            "validation": str(validation),
            "validation_limit": VALIDATION_LIMIT,
            "contract": self._variant.contract.model_dump(mode="json"),
            "engine": recipe.engine,
            "platform": recipe.platform,
            "cores": recipe.cores,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "infaas.registrar.generate"],
            input=orjson.dumps(order) + b"\n",
            capture_output=True,
            timeout=GENERATE_S,
            check=False,
        )
        if ended.returncode != 0 or not ended.stdout.strip():
            last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing said"])[-1]
            return {"failed": f"the generator ended with status {ended.returncode}: {last}"}
        found: dict[str, str] = orjson.loads(ended.stdout.strip().splitlines()[-1])
        return found

    def _measure(self, artifact: Path, arrays: dict[str, Array], before: Array) -> None:
        variant, recipe = self._variant, self._variant.recipe
        loaded = engine(recipe.engine)
        loaded.load(artifact, platform=recipe.platform, cores=recipe.cores)  # imports the engine's library, too
        loaded.close()
        start = time.perf_counter()
        loaded.load(artifact, platform=recipe.platform, cores=recipe.cores)
        loaded.run({s.name: arrays[s.name][:1] for s in variant.contract.inputs})
        load_ms = (time.perf_counter() - start) * 1000.0
        predicted = predictions(loaded, variant.contract, arrays)
        for point in measure(loaded, variant.contract, arrays, max_batch=recipe.max_batch, done=self._done):
            self._say({"said": "point", **point.model_dump()})
            if self._inbox.closed:
                return  # nobody listens any more
        content = artifact.read_bytes()
        self._say(
            {
                "said": "built",
                "artifact_digest": self._repository.put(content),
                "size_bytes": len(content),
                "load_ms": load_ms,
                "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB,
                "accuracy": accuracy(predicted, arrays[LABELS]),
                "agreement": accuracy(predicted, before),
            }
        )

    def _say(self, message: Message) -> None:
        tell(self._descriptor, message)


def main(_: Stop) -> None:
    """Builds what the supervisor orders."""
    inbox, descriptor = child_channel()
    order = inbox.wait(ORDER_S)
    if order is None:
        return
    try:
        Build(order, inbox, descriptor).run()
    except (InfaasError, OSError, subprocess.TimeoutExpired) as error:
        tell(descriptor, {"said": "failed", "reason": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    sys.exit(run_service(main))
