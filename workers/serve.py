"""`python -m infaas.workers.serve`: the process of one instance; a supervisor starts it and holds its other end.

Callers wait for what is done here, so connections are made while the model loads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infaas.bus.claim_check import ClaimCheck
from infaas.bus.dead_letters import DeadLetters
from infaas.bus.outbox import Outbox
from infaas.bus.replies import ReplySender
from infaas.bus.repository import Repository
from infaas.bus.settings import BusSettings
from infaas.bus.workqueue import WorkQueue, work_enquiries
from infaas.engines import Engine, engine
from infaas.host.channel import Inbox, child_channel
from infaas.host.limits import told
from infaas.host.messages import Failed, Message, Serve, Stopped, ToChild
from infaas.host.process import Stop, run_service, spare_collections
from infaas.schemas.errors import ConfigurationError, InfaasError, ProducerFatal
from infaas.workers.answers import Answers
from infaas.workers.batch import Runner
from infaas.workers.calibration import calibrate
from infaas.workers.instance import Instance
from infaas.workers.partitions import Partitions
from infaas.workers.replies import Replies
from infaas.workers.tally import Tally
from infaas.workers.voice import Voice

START_S = 10.0
CALIBRATE_S = 10.0
MEMORY = "INFAAS_WORKER_MEMORY_FACTOR"
"""The setting of the supervisor that limits an instance's memory."""
OFFLINE_WAIT_MS = 500  # nobody waits for offline work, and a fetch that waits costs the broker nothing


@dataclass(frozen=True, slots=True)
class Connections:
    """The Kafka clients of one instance."""

    outbox: Outbox
    online: WorkQueue
    offline: WorkQueue

    @classmethod
    def open(cls, settings: BusSettings, order: Serve) -> Connections:
        """Begins to connect; the clients go on with it in threads of their own."""
        name = f"{order.worker}-{order.variant.variant}-{order.instance}"
        enquiries = work_enquiries(settings, name)
        return cls(
            outbox=Outbox(settings, client_id=name),
            online=WorkQueue(settings, client_id=name, enquiries=enquiries),
            offline=WorkQueue(settings, client_id=f"{name}-offline", wait_ms=OFFLINE_WAIT_MS, enquiries=enquiries),
        )


def main(stop: Stop) -> None:
    """Serves until it is told to stop, or its supervisor is gone."""
    inbox, say = child_channel()
    order = inbox.wait(START_S)
    if not isinstance(order, Serve):
        return
    settings = BusSettings()
    try:
        connections = Connections.open(settings, order)
        loaded = load(order)
        instance = compose(settings, order, inbox, say, loaded, connections)
        spare_collections()
        while not (stop or inbox.closed or instance.stopping):
            instance.step()
        instance.close()
        loaded.close()
    except InfaasError as error:
        outside = error.retryable or isinstance(error, ProducerFatal)  # another process has another producer
        say(Failed(reason=told(error, MEMORY), code=error.code, retryable=outside))
        raise
    except MemoryError as error:
        say(Failed(reason=told(error, MEMORY)))
        raise
    say(Stopped())


def load(order: Serve) -> Engine:
    """The engine of a variant, with its artifact.

    Raises:
        InfaasError: it can't be loaded here.
    """
    variant = order.variant
    if variant.artifact_digest is None:
        raise ConfigurationError(f"{variant.variant} has no artifact: it is not built")
    loaded = engine(variant.recipe.engine)
    path = Repository(order.repository_url).fetch(variant.artifact_digest, Path(order.cache_dir))
    loaded.load(path, platform=variant.recipe.platform, cores=variant.recipe.cores)
    return loaded


def compose(
    settings: BusSettings,
    order: Serve,
    inbox: Inbox[ToChild],
    say: Callable[[Message], None],
    loaded: Engine,
    connections: Connections,
) -> Instance:
    """Puts an instance together and warms it up.

    Raises:
        InfaasError: it can't serve.
    """
    variant, worker = order.variant, order.worker
    profile = variant.profile
    if profile is None:
        raise ConfigurationError(f"{variant.variant} has no profile: it is not measured")
    runner = Runner(loaded, variant.contract)
    runner.probe()
    outbox = connections.outbox
    calibrate(outbox, settings, worker=worker, timeout=CALIBRATE_S)
    dead_letters = DeadLetters(outbox, settings, service="instance")
    claims, tally = ClaimCheck(settings), Tally()

    def lost(topic: str, partition: int, offset: int) -> None:
        cause = (
            f"the broker has lost records: {topic}-{partition} ends before {offset}, and is read again from its start"
        )
        where = (topic, partition, offset)
        dead_letters.put_raw(key=None, value=None, headers=[], where=where, stage="truncated", cause=cause)

    return Instance(
        contract=variant.contract,
        profile=profile,
        inbox=inbox,
        voice=Voice(say),
        outbox=outbox,
        partitions=Partitions(
            online=connections.online,
            offline=connections.offline,
            topics=(settings.names.work(variant.variant), settings.names.offline(variant.variant)),
            worker=worker,
            on_lost=lost,
        ),
        runner=runner,
        answers=Answers(
            replies=Replies(variant, profile, worker, claims),
            sender=ReplySender(outbox, settings, dead_letters=dead_letters),
            dead_letters=dead_letters,
            tally=tally,
        ),
        claims=claims,
        tally=tally,
    )


if __name__ == "__main__":
    sys.exit(run_service(main))
