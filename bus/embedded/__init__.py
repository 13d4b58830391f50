"""The real Apache Kafka as a child process, with nothing to install by hand.

Jars come from Maven's central repository, each pinned by its checksum; Java comes from PyPI.
"""

from infaas.bus.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
