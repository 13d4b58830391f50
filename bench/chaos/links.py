"""Links between services and the broker that can be made slow or cut: a small TCP proxy in a process of its own.

Kafka tells its clients where to connect, so a service comes through its link only because the broker has a listener for it
which is advertised at the link's port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import orjson

from infaas.host.process import die_with_parent

CHUNK = 64 * 1024


@dataclass(slots=True)
class Link:
    """One link, as it is now."""

    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    """0 = as fast as it goes."""
    cut: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    ready_at: float = 0.0

    def set(self, *, delay_s: float, bytes_per_s: float, cut: bool) -> None:
        """Changes it; what is cut ends its connections."""
        self.delay_s, self.bytes_per_s, self.cut = delay_s, bytes_per_s, cut
        for writer in self.writers if cut else ():
            writer.transport.abort()

    async def copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Passes on what comes, each piece late by the delay and by its turn on the line."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)

        async def put() -> None:
            while data := await source.read(CHUNK):
                now = loop.time()
                if self.bytes_per_s:
                    self.ready_at = max(now, self.ready_at) + len(data) / self.bytes_per_s
                await pieces.put((max(now, self.ready_at if self.bytes_per_s else now) + self.delay_s, data))
            await pieces.put((0.0, b""))

        reading = asyncio.create_task(put())
        try:
            while True:
                due, data = await pieces.get()
                if not data:
                    return
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                target.write(data)
                await target.drain()
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await reading


class Proxy:
    """All links of one process."""

    def __init__(self, ports: Mapping[str, tuple[int, int]]) -> None:
        self._ports = ports
        self._links = {name: Link() for name in ports}

    async def serve(self) -> None:
        """Serves until standard input ends; each line of it changes a link."""
        for name, (listens, leads_to) in self._ports.items():
            await asyncio.start_server(self._handler(self._links[name], leads_to), "127.0.0.1", listens)
        loop, orders = asyncio.get_running_loop(), asyncio.Queue[bytes]()

        def listen() -> None:
            for line in sys.stdin.buffer:
                loop.call_soon_threadsafe(orders.put_nowait, line)
            loop.call_soon_threadsafe(orders.put_nowait, b"")

        threading.Thread(target=listen, daemon=True).start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await orders.get():
            order = orjson.loads(line)
            self._links[order.pop("link")].set(**order)

    def _handler(self, link: Link, port: int):  # type: ignore[no-untyped-def]
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if link.cut:
                writer.transport.abort()
                return
            try:
                broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.transport.abort()
                return
            pair = {writer, broker_writer}
            link.writers |= pair
            copies = [
                asyncio.create_task(link.copy(reader, broker_writer)),
                asyncio.create_task(link.copy(broker_reader, writer)),
            ]
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            link.writers -= pair
            for end in pair:
                end.transport.abort()

        return handle


class Links:
    """The proxy's process, from outside; a context manager.

    Args:
        ports: of each link, where it listens and where it leads to, on the loopback interface.
    """

    def __init__(self, ports: Mapping[str, tuple[int, int]]) -> None:
        self.ports = dict(ports)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infaas.bench.chaos.links", orjson.dumps(self.ports).decode(), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set(self, link: str, *, delay_s: float = 0.0, bytes_per_s: float = 0.0, cut: bool = False) -> None:
        """Makes a link slow, cuts it, or (by default) makes it whole."""
        order = {"link": link, "delay_s": delay_s, "bytes_per_s": bytes_per_s, "cut": cut}
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(order) + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def main() -> None:
    """Runs the proxy."""
    die_with_parent(int(sys.argv[2]))
    ports = {name: (pair[0], pair[1]) for name, pair in orjson.loads(sys.argv[1]).items()}
    asyncio.run(Proxy(ports).serve())


if __name__ == "__main__":
    main()
