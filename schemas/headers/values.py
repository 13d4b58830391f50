"""Headers' values: read, or refused naming the header; written in one way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from infaas.schemas.errors import BadHeader

Headers = Sequence[tuple[str, bytes | str | None]]
HeaderList = list[tuple[str, bytes]]
HeaderMap = Mapping[str, bytes | str | None]


def text(value: bytes | str | None, name: str) -> str:
    """A header's value as text.

    Raises:
        BadHeader: if it is no UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadHeader(name, "UTF-8 text", value) from None


def as_map(headers: Headers | None) -> dict[str, bytes | str | None]:
    """Headers by name; of a name that comes twice the last counts, as in Kafka's `lastHeader`."""
    return dict(headers) if headers else {}


def headers_of(pairs: Iterable[tuple[str, object]]) -> HeaderList:
    """Headers from values as they are: text, numbers, booleans, bytes; None is left out."""
    return [(name, value_bytes(value)) for name, value in pairs if value is not None]


def number(found: HeaderMap, name: str, low: float, high: float, *, above: bool = False) -> float | None:
    """A number in its range; None if it is not given.

    Raises:
        BadHeader: naming the header and the range.
    """
    if name not in found:
        return None
    raw = text(found[name], name)
    expected = f"a number {'above' if above else 'from'} {low:g} to {high:g}"
    try:
        value = float(raw)
    except ValueError:
        raise BadHeader(name, expected, raw) from None
    if not low <= value <= high or (above and value == low):
        raise BadHeader(name, expected, raw)
    return value


def flag(found: HeaderMap, name: str, *, default: bool) -> bool:
    """`true` or `false`.

    Raises:
        BadHeader: if it is neither.
    """
    if name not in found:
        return default
    raw = text(found[name], name).lower()
    if raw not in ("true", "false"):
        raise BadHeader(name, "true or false", raw)
    return raw == "true"


def or_infinite(value: float | None) -> float:
    """What is not given binds nothing."""
    return math.inf if value is None else value


def number_text(value: float) -> bytes:
    """A number as it is written."""
    return repr(float(value)).removesuffix(".0").encode()


def value_bytes(value: object) -> bytes:
    """Any value as it is written."""
    match value:
        case None:
            return b""
        case bytes():
            return value
        case bool():
            return b"true" if value else b"false"
        case float():
            return number_text(value)
        case _:
            return str(value).encode()
