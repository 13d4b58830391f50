"""An embedded broker with a listener for each link."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import ClassVar

from infaas.bus.embedded.broker import EmbeddedBroker

PLAIN = "PLAINTEXT"


class LinkedBroker(EmbeddedBroker):
    """The embedded broker; clients that come to a link's listener are sent back through the link."""

    links: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Of each link, the port it listens on and the one it leads to."""

    def _write_configuration(self, controller_port: int) -> None:
        super()._write_configuration(controller_port)
        if not self.links:
            return
        names = {listener_name(link): ports for link, ports in self.links.items()}
        listeners = [f"{PLAIN}://127.0.0.1:{self.port}", f"CONTROLLER://127.0.0.1:{controller_port}"]
        advertised = [f"{PLAIN}://127.0.0.1:{self.port}"]
        listeners += [f"{name}://127.0.0.1:{leads_to}" for name, (_, leads_to) in names.items()]
        advertised += [f"{name}://127.0.0.1:{listens}" for name, (listens, _) in names.items()]
        protocols = [f"{name}:{PLAIN}" for name in (PLAIN, "CONTROLLER", *names)]
        settings = {
            "listeners": listeners, "advertised.listeners": advertised, "listener.security.protocol.map": protocols,
            "inter.broker.listener.name": [PLAIN],
        }  # fmt: skip
        with (self.data_dir / "server.properties").open("a") as file:  # of a setting that comes twice the last counts
            file.writelines(f"{name}={','.join(values)}\n" for name, values in settings.items())


def listener_name(link: str) -> str:
    """A listener's name: letters and digits alone."""
    return "LINK" + link.upper().replace("-", "")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listening in sockets:
            listening.bind(("127.0.0.1", 0))
        return [listening.getsockname()[1] for listening in sockets]
    finally:
        for listening in sockets:
            listening.close()
