"""`python -m infaas.bench.worker.bare [MODEL]`: what a process takes that only has the model, or nothing; bytes resident."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def main(model: str | None) -> None:
    """Loads the model as an instance does, runs a row, and says what it takes."""
    loaded: object = None
    if model is not None:
        import numpy as np

        from infaas.engines.onnxruntime import OnnxRuntimeEngine

        loaded = engine = OnnxRuntimeEngine()
        engine.load(Path(model), cores=1)
        engine.run({"x": np.zeros((1, 64), np.float32)})
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    sys.stdout.write(f"{resident}\n")
    del loaded


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
