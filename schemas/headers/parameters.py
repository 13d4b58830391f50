"""A body's `parameters`, for producers that can't set headers: read as the headers they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from infaas.schemas.errors import BadHeader
from infaas.schemas.headers.known import NEAR, nearest
from infaas.schemas.headers.names import CORRELATION, OBJECTIVE_NAMES, PREFIX, REPLY_TO, REPLY_TO_PARTITION, SCOPES
from infaas.schemas.headers.values import HeaderMap

MOST = 64
LONGEST_NAME = 64
_HEADERS: Mapping[str, str] = {
    **{name.removeprefix(PREFIX): name for name in (*SCOPES.values(), *OBJECTIVE_NAMES)},
    "reply-to": REPLY_TO[0],
    "reply-partition": REPLY_TO_PARTITION[0],
    "correlation-id": CORRELATION[0],
}
_NAMES = tuple(sorted(_HEADERS))


def headers_from_parameters(parameters: Mapping[str, object]) -> HeaderMap:
    """The headers that a body's parameters stand for: the same names without prefix, with `_` or `-`.

    The protocol's own parameters, and a model's, pass; one that is nearly an objective is refused, since it is meant.

    Raises:
        BadHeader: naming the parameter and what was expected.
    """
    if len(parameters) > MOST:
        raise BadHeader("parameters", f"at most {MOST} of them", len(parameters))
    headers: dict[str, bytes | str | None] = {}
    for key, value in parameters.items():
        header = _header(key)
        if header is None or value is None or value == "":
            continue
        if not isinstance(value, str | int | float | bool):
            raise BadHeader(f"parameters.{key}", "text, a number or a boolean", value)
        headers[header] = str(value).lower() if isinstance(value, bool) else str(value)
    return headers


def _header(key: str) -> str | None:
    name = key.lower().replace("_", "-")
    ours, name = name.startswith(PREFIX), name.removeprefix(PREFIX)
    header = _HEADERS.get(name)
    if header is None and (ours or len(name) <= LONGEST_NAME):
        near = nearest(name[:LONGEST_NAME], _NAMES, 0.0 if ours else NEAR)
        if near is not None or ours:
            raise BadHeader(f"parameters.{key}", f"a parameter that is known; the nearest is {near}")
    return header
