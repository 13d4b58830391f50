"""The embedded broker's side of the links: a listener for each; whoever comes to it is sent back through the link."""

from __future__ import annotations

from collections.abc import Mapping

from infaas.bus.embedded.configuration import Listener


def listeners(links: Mapping[str, tuple[int, int]]) -> list[Listener]:
    """Listeners for links.

    Args:
        links: of each, the port it listens on and the one it leads to.
    """
    return [
        Listener(name="LINK" + link.upper().replace("-", ""), port=leads_to, advertised_port=listens)
        for link, (listens, leads_to) in links.items()
    ]
