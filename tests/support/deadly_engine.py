"""An engine whose process dies of one input, as a faulty kernel does: the real runtime, with a real SIGKILL before it."""

import os
import signal

from infaas.engines.onnxruntime import OnnxRuntimeEngine

DEADLY = -7.0


class DeadlyEngine(OnnxRuntimeEngine):
    def run(self, inputs):
        if (inputs["x"] == DEADLY).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(inputs)
