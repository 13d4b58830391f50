"""Names: what may be called how, so that every name fits in a Kafka topic and in a metadata key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from infaas.schemas.errors import BadName

ApplicationName = NewType("ApplicationName", str)
ArchitectureName = NewType("ArchitectureName", str)
VariantName = NewType("VariantName", str)
WorkerName = NewType("WorkerName", str)
BootId = NewType("BootId", str)
QueryId = NewType("QueryId", str)

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,59}"
_NAME = re.compile(NAME_PATTERN)
# Numbers are written in one way only (no leading zero, ASCII digits), so that a variant has one name.
_VARIANT = re.compile(
    rf"(?P<architecture>{NAME_PATTERN})\.v(?P<version>0|[1-9][0-9]{{0,8}})"
    r"\.(?P<engine>[a-z]{1,20})-(?P<platform>[a-z]{1,12})(?P<cores>[1-9][0-9]{0,2})-(?P<precision>[a-z0-9]{1,12})"
)


def check_name(field: str, name: str) -> str:
    """Returns `name` if it may name an application, an architecture or a worker.

    Raises:
        BadName: with the field and the rule.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadName(field, f"a name of 1 to 60 characters, {NAME_PATTERN}", name)
    return name


@dataclass(frozen=True, slots=True)
class VariantId:
    """The parts of a variant's name: `<architecture>.v<version>.<engine>-<platform><cores>-<precision>`."""

    architecture: str
    version: int
    engine: str
    platform: str
    cores: int
    precision: str

    def __str__(self) -> str:
        return f"{self.architecture}.v{self.version}.{self.engine}-{self.platform}{self.cores}-{self.precision}"

    @classmethod
    def parse(cls, name: str) -> VariantId:
        """Takes a variant's name apart.

        Raises:
            BadName: if it is not one.
        """
        match = _VARIANT.fullmatch(name)
        if not match:
            raise BadName("variant", "<architecture>.v<version>.<engine>-<platform><cores>-<precision>", name)
        part = match.groupdict()
        return cls(
            part["architecture"],
            int(part["version"]),
            part["engine"],
            part["platform"],
            int(part["cores"]),
            part["precision"],
        )


def query_id(topic: str, partition: int, offset: int) -> QueryId:
    """The identity of a query is where it stands in the query log."""
    return QueryId(f"{topic}-{partition}-{offset}")
