"""Ports of the loopback interface: which are free, and who holds one that is not."""

from __future__ import annotations

import socket

import psutil

from infaas.bus.embedded.identity import answering_cluster
from infaas.schemas.errors import EmbeddedBrokerError

HOST = "127.0.0.1"


class PortInUse(EmbeddedBrokerError):
    """Somebody else listens where the embedded broker should."""

    def __init__(self, port: int, reason: str) -> None:
        self.port = port
        super().__init__(
            f"port {port} of {HOST} can't be used: {reason}. Say another port (`--port`; without it any that is free is "
            f"taken), or set INFAAS_BOOTSTRAP_SERVERS={HOST}:{port} if that Kafka is the one you mean"
        )


def obstacle(port: int) -> str | None:
    """Why nobody can listen on a port; None = it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            return "it takes special rights to listen there"
        except OSError:
            return f"{_holder(port)} listens there"
    return None


def free_ports(count: int) -> list[int]:
    """Ports that are free now; somebody may take one before it is bound."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


def _holder(port: int) -> str:
    """Who listens, as far as this user may know: process and cluster id."""
    process = _process(port)
    cluster = answering_cluster(f"{HOST}:{port}")
    kafka = f"a Kafka with the cluster id {cluster}" if cluster else "no Kafka that answers"
    return f"{process} ({kafka})"


def _process(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                return f"process {connection.pid}, {psutil.Process(connection.pid).name()},"
    except psutil.Error:
        pass  # other users' processes are not shown to everybody
    return "another process"
