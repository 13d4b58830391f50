"""Registering models, and watching what is made of them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from infaas.bus.repository import Repository
from infaas.bus.settings import BusSettings
from infaas.schemas.coding import from_validation
from infaas.schemas.commands import RegisterModel
from infaas.schemas.errors import BadModel, QueryTimeout
from infaas.schemas.metadata import Architecture, Variant
from infaas.schemas.names import VariantId
from infaas.schemas.oip import Array
from infaas.store.table import Table

Content = Path | str | bytes
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registrar made of a command."""

    architecture: str
    version: int
    state: str
    replaced: int | None = None
    """The version whose place it takes when its variants are ready."""


@dataclass(frozen=True, slots=True)
class ModelWanted:
    """What is to be made of a model; see `Client.register`."""

    application: str
    labels: tuple[str, ...]
    max_batch: int
    generators: tuple[str, ...] | None
    cores: tuple[int, ...] | None
    replace: bool = False

    def command(
        self,
        architecture: str,
        model: Content,
        validation_set: Content | Mapping[str, Array],
        repository: Repository,
    ) -> RegisterModel:
        """The command, with what it names put in the repository.

        Raises:
            BadInput: naming the field.
            ArtifactError, StorageFull: the repository does not take it.
        """
        try:
            return RegisterModel(
                architecture=architecture,
                application=self.application,
                artifact=repository.put(content_of(model)),
                validation_set=repository.put(validation_bytes(validation_set)),
                labels=self.labels,
                max_batch=self.max_batch,
                generators=self.generators,
                cores=self.cores,
                replace=self.replace,
            )
        except ValidationError as error:
            raise from_validation(error) from None


@dataclass(frozen=True, slots=True)
class Progress:
    """An architecture on its way, and its variants with the batch sizes measured so far."""

    architecture: Architecture
    variants: tuple[Variant, ...]
    measured: Mapping[str, tuple[int, ...]]

    @property
    def done(self) -> bool:
        """Whether it is ready, or never will be."""
        return self.architecture.state in ("ready", "failed", "retired")


def content_of(content: Content) -> Path | bytes:
    """A file's path, or bytes as they are."""
    return Path(content) if isinstance(content, str) else content


def validation_bytes(validation_set: Content | Mapping[str, Array]) -> Path | bytes:
    """A validation set as a file: arrays by input name plus `labels` are packed as .npz."""
    if not isinstance(validation_set, Mapping):
        return content_of(validation_set)
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **validation_set)
    return out.getvalue()


def follow(settings: BusSettings, architecture: str, version: int, *, timeout: float = 1800.0) -> Iterator[Progress]:
    """Yields each change until the architecture's version is ready.

    Raises:
        BadModel: if it failed, with the reason.
        QueryTimeout: if it takes longer than `timeout` s.
    """
    table = Table(settings, client_id=f"follow-{architecture}")
    table.open()
    deadline = time.monotonic() + timeout
    try:
        last = None
        while True:
            view = table.view()
            known = view.architectures.get(architecture)
            if known is not None and known.version >= version:
                variants = tuple(
                    v
                    for v in sorted(view.variants.values(), key=lambda v: v.variant)
                    if v.architecture == architecture and VariantId.parse(v.variant).version == known.version
                )
                measured = {v.variant: tuple(sorted(view.profiles.get(v.variant, {}))) for v in variants}
                now = Progress(known, variants, measured)
                if now != last:
                    last = now
                    yield now
                if known.state == "failed":
                    raise BadModel("architecture", "a model of which a variant can be built", known.reason)
                if now.done:
                    return
            table.poll(POLL_S)
            if time.monotonic() > deadline:
                raise QueryTimeout(
                    f"{architecture} was not ready within {timeout:g} s; `infaas status` shows what it waits for"
                )
    finally:
        table.close()
