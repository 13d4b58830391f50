"""A registrar's counter: sends commands and reads the answers."""

from __future__ import annotations

from cell import Cell
from models import VALIDATION, classifier

from infaas.bus.repository import Repository
from infaas.schemas import commands
from infaas.schemas.commands import RegisterModel
from infaas.schemas.topics import REGISTRATIONS


class Office(Cell):
    """Sends commands and reads the answers."""

    def __init__(self, settings) -> None:
        super().__init__(settings, roles=())
        self.repository = Repository()

    def tell(self, tag, command, value=None):
        self.outbox.send(
            self.settings.names.of(REGISTRATIONS),
            value=commands.encode(command) if value is None else value,
            headers=[("correlation-id", tag.encode()), *self.replies.address_headers()],
        )

    def register(self, tag, architecture="linear", model=None, val=VALIDATION, **more):
        command = RegisterModel(
            architecture=architecture,
            application=more.pop("application", "points"),
            artifact=self.repository.put(classifier() if model is None else model),
            validation_set=self.repository.put(val),
            max_batch=more.pop("max_batch", 4),
            **more,
        )
        self.tell(tag, command)
        return command

    def state(self, name):
        found = self.table.view().architectures.get(name)
        return found and (found.version, found.state)
