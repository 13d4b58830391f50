"""Commands to the registrar, in the imperative; unknown fields are refused, so that a typing error is not ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from infaas.schemas import coding
from infaas.schemas.names import NAME_PATTERN

DIGEST_PATTERN = r"sha256:[0-9a-f]{64}"
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
Digest = Annotated[str, Field(pattern=f"^{DIGEST_PATTERN}$")]


class Command(BaseModel):
    """What all commands have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RegisterModel(Command):
    """Register a trained model under an application; artifact and validation set are in the repository already."""

    command: Literal["register_model"] = "register_model"
    architecture: Name
    application: Name
    artifact: Digest
    validation_set: Digest
    labels: tuple[str, ...] = ()
    max_batch: int = Field(ge=1, le=1024, default=64)
    generators: tuple[str, ...] | None = None
    """Generators to use; None = all that apply."""
    cores: tuple[int, ...] | None = None
    """Core counts to make variants for; None = 1 and 2."""
    replace: bool = False
    """Whether it may take the place of another model of this name. The same model never needs it, whatever else is asked of it."""


class UnregisterModel(Command):
    """Retire an architecture and all its variants."""

    command: Literal["unregister_model"] = "unregister_model"
    architecture: Name


AnyCommand = Annotated[RegisterModel | UnregisterModel, Field(discriminator="command")]
_ADAPTER: TypeAdapter[AnyCommand] = TypeAdapter(AnyCommand)


def encode(command: Command) -> bytes:
    """The command's value on the registrations topic."""
    return coding.encode(command)


def decode(value: bytes) -> AnyCommand:
    """Reads a command.

    Raises:
        BadInput: naming the first field that is wrong.
    """
    return coding.decode(_ADAPTER, value)
