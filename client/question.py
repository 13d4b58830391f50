"""What a caller asks for, and the record that says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from infaas.bus.claim_check import ClaimCheck
from infaas.schemas import headers as h
from infaas.schemas import oip
from infaas.schemas.errors import BadInput
from infaas.schemas.headers import HeaderList, Objective, Optimize
from infaas.schemas.oip import Array, InferRequest

PATIENCE_S = 30.0


class Asked(TypedDict, total=False):
    """What may be said of a query beside its application and its inputs; all of it may be left out."""

    architecture: str | None
    """Reach any variant of this model, in place of an application's."""
    variant: str | None
    """Reach this variant alone."""
    latency_ms: float | None
    """From the append to the query topic to the reply; None = offline, answered when there is room."""
    min_accuracy: float | None
    """Floor, 0 to 1."""
    max_cost: float | None
    """USD per 1,000 queries."""
    optimize: Optimize
    """What to prefer among the variants that will do: `cost` (the default), `accuracy` or `latency`."""
    strict: bool
    """Refuse what can't be met and drop what is late (the default); else the closest is served, and marked."""
    late_limit_ms: float | None
    """If not strict, how late is still of use."""
    deadline_ms: float | None
    """Absolute, epoch ms, instead of `latency_ms`."""
    explain: bool
    """Leave a decision record."""
    id: str | None
    """The caller's own, echoed."""
    outputs: tuple[str, ...]
    """Names wanted; empty = all."""
    binary: bool
    """Tensors as bytes (quick, the default) or as JSON (readable)."""
    timeout: float | None
    """Seconds to wait for the answer; None = the objective and half a minute."""
    key: str | bytes | None
    """Of the record, and of the reply's, such as a stream's key; None = there is none."""
    headers: Mapping[str, str | bytes] | None
    """More record headers, such as `traceparent`."""
    raise_for_outcome: bool
    """Let the future raise what is not `ok` (the default); else look at `reply.outcome`."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query as it is sent."""

    value: bytes
    headers: HeaderList
    key: bytes | None
    patience_s: float
    """How long to wait for the answer."""

    @classmethod
    def of(cls, application: str | None, inputs: Mapping[str, Array], asked: Asked, claims: ClaimCheck) -> Question:
        """Writes a query; what a router would refuse of its objective is refused here.

        Raises:
            BadInput: naming the argument.
            TypeError: an argument that there is not.
            ArtifactError: it is too large for a record, and can't be stored.
        """
        unknown = sorted(asked.keys() - Asked.__annotations__.keys())
        if unknown:
            raise TypeError(f"unexpected arguments: {', '.join(unknown)}")
        objective = _objective(application, asked)
        wanted = h.objective_headers(objective)
        h.parse_objective(dict(wanted))
        key = asked.get("key")
        key = key.encode() if isinstance(key, str) else key
        value, length = oip.encode_request(_request(inputs, asked))
        value, claim = claims.put(value, beside=key)
        more = h.headers_of([(h.CONTENT_LENGTH, length), *(asked.get("headers") or {}).items()])
        timeout = asked.get("timeout")
        return cls(value, [*wanted, *claim, *more], key, _patience(objective) if timeout is None else timeout)


def _objective(application: str | None, asked: Asked) -> Objective:
    scopes = {
        "application": application, "architecture": asked.get("architecture"), "variant": asked.get("variant")
    }  # fmt: skip
    named = {scope: name for scope, name in scopes.items() if name is not None}
    if len(named) != 1:
        raise BadInput("application", "exactly one of application, architecture and variant", sorted(named))
    ((scope, name),) = named.items()
    max_cost = asked.get("max_cost")
    return Objective(
        scope=scope,  # type: ignore[arg-type]
        name=name,
        latency_ms=asked.get("latency_ms"),
        min_accuracy=asked.get("min_accuracy") or 0.0,
        max_cost=math.inf if max_cost is None else max_cost,
        optimize=asked.get("optimize", "cost"),
        strict=asked.get("strict", True),
        late_limit_ms=asked.get("late_limit_ms"),
        deadline_ms=asked.get("deadline_ms"),
        explain=asked.get("explain", False),
    )


def _request(inputs: Mapping[str, Array], asked: Asked) -> InferRequest:
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    return InferRequest(arrays, id=asked.get("id"), outputs=asked.get("outputs", ()), binary=asked.get("binary", True))


def _patience(objective: Objective) -> float:
    wanted_ms = objective.late_limit_ms or objective.latency_ms or 0.0
    return PATIENCE_S + wanted_ms * (1.0 if objective.strict else h.LATE_LIMIT_FACTOR) / 1000.0
