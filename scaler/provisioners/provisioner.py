"""What a provisioner is, and which there are."""

from __future__ import annotations

from typing import Protocol

from infaas.schemas.metadata import Machine


class Provisioner(Protocol):
    """Starts and stops machines whose supervisors then appear as workers of the machine's name."""

    def start(self, machine: Machine) -> str:
        """Starts a machine unless it runs; returns the provider's id. Called again after a crash: the name is the token."""

    def stop(self, machine: Machine) -> None:
        """Stops a machine; one that is gone is no error."""
