"""What all metadata records have in common, and the claim to lead."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1
Role = Literal["scaler", "registrar"]


class Record(BaseModel):
    """What all metadata records have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    writer: ClassVar[Literal["scaler", "registrar", "worker", "claimer"]]
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        """The record's key in the store."""
        raise NotImplementedError


class Leader(Record):
    """A claim to lead; its offset in the topic is the epoch."""

    writer = "claimer"
    kind: Literal["leader"] = "leader"
    role: Role
    nonce: str
    claimed_at_ms: int

    @property
    def key(self) -> str:
        return f"leader/{self.role}"
