"""`python -m infaas.workers.serve`: the process of one instance; a supervisor starts it and holds its other end."""

from __future__ import annotations

import sys
from pathlib import Path

from infaas.bus.repository import Repository
from infaas.bus.settings import BusSettings
from infaas.host.channel import child_channel, tell
from infaas.host.messages import Failed, Serve, Stopped
from infaas.host.process import Stop, run_service
from infaas.schemas.errors import InfaasError, ProducerFatal
from infaas.workers.instance import Instance

START_S = 10.0


def main(stop: Stop) -> None:
    """Serves until it is told to stop, or its supervisor is gone."""
    inbox, descriptor = child_channel()
    order = inbox.wait(START_S)
    if not isinstance(order, Serve):
        return
    variant = order.variant
    instance = Instance(
        settings=BusSettings(),
        variant=variant,
        worker=order.worker,
        number=order.instance,
        inbox=inbox,
        descriptor=descriptor,
    )
    try:
        assert variant.artifact_digest is not None
        instance.load(Repository(order.repository_url).fetch(variant.artifact_digest, Path(order.cache_dir)))
        while not (stop or inbox.closed or instance.stopping):
            instance.step()
        instance.close()
    except InfaasError as error:
        outside = error.retryable or isinstance(error, ProducerFatal)  # another process has another producer
        tell(descriptor, Failed(reason=str(error), code=error.code, retryable=outside))
        raise
    tell(descriptor, Stopped())


if __name__ == "__main__":
    sys.exit(run_service(main))
