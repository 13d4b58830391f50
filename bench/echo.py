"""`python -m infaas.bench.echo IN OUT`: reads a topic and writes what it reads to the next, or back to the caller (`OUT` = `reply`).

The least that any service on Kafka does, with the same client settings: what the system's own latency is compared with.
"""

from __future__ import annotations

import sys

from infaas.bus.outbox import Outbox
from infaas.bus.reply_reader import ReplyReader
from infaas.bus.settings import BusSettings
from infaas.host.process import Stop, run_service
from infaas.schemas.headers import parse_reply_address

POLL_S = 0.01


def main(stop: Stop) -> None:
    """Echoes until it is told to stop."""
    source, target = sys.argv[1:3]
    settings = BusSettings()
    reader = ReplyReader(settings, client_id=f"echo-{source}", topic=source)
    outbox = Outbox(settings, client_id=f"echo-{source}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not stop:
        for record in reader.poll(POLL_S):
            if target == "reply":
                address = parse_reply_address(record.header_map)
                outbox.send(
                    address.topic or "",
                    value=record.value,
                    key=record.key,
                    headers=record.headers,
                    partition=address.partition,
                )
            else:
                outbox.send(target, value=record.value, key=record.key, headers=record.headers, partition=0)
        outbox.poll(0)
    outbox.close()
    reader.close()


if __name__ == "__main__":
    sys.exit(run_service(main))
