"""Headers' values: read, or refused naming the header; written in one way."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from infaas.schemas.errors import BadHeader
from infaas.schemas.headers.names import CONTENT_LENGTH

Headers = Sequence[tuple[str, bytes | str | None]]
HeaderList = list[tuple[str, bytes]]
HeaderMap = Mapping[str, bytes | str | None]

TEXT_LIMIT_BYTES = 4096
_PLAIN_BYTES = 20
_WHOLE = 1e15
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
_LENGTH = re.compile(r"[0-9]{1,15}")


def text(value: bytes | str | None, name: str) -> str:
    """A header's value as text.

    Raises:
        BadHeader: if it is no UTF-8, or over the limit.
    """
    if value is None:
        return ""
    if len(value) > TEXT_LIMIT_BYTES:
        raise BadHeader(name, f"at most {TEXT_LIMIT_BYTES} bytes", f"{len(value)} bytes")
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


def number(headers: HeaderMap, name: str, low: float, high: float, *, above: bool = False) -> float | None:
    """A number in its range; None if it is not given.

    Raises:
        BadHeader: naming the header and the range.
    """
    given = headers.get(name)
    if not given:
        return None
    if type(given) is bytes and len(given) <= _PLAIN_BYTES and given.isdigit():  # most are: whole, and quick to read
        value = float(given)
    else:
        raw = text(given, name)
        if not _NUMBER.fullmatch(raw):  # float() takes `1_000` and the digits of other scripts
            raise _no_number(name, low, high, raw, above=above)
        value = float(raw)
    if not low <= value <= high or (above and value == low):
        raise _no_number(name, low, high, text(given, name), above=above)
    return value


def _no_number(name: str, low: float, high: float, found: str, *, above: bool) -> BadHeader:
    return BadHeader(name, f"a number {'above' if above else 'from'} {low:g} to {high:g}", found)


def content_length(headers: HeaderMap) -> int | None:
    """The length of a body's JSON part, if it has binary tensors behind it.

    Raises:
        BadHeader: if it is no number.
    """
    raw = text(headers.get(CONTENT_LENGTH), CONTENT_LENGTH)
    if not raw:
        return None
    if not _LENGTH.fullmatch(raw):
        raise BadHeader(CONTENT_LENGTH, "a length in bytes", raw)
    return int(raw)


def flag(headers: HeaderMap, name: str, *, default: bool) -> bool:
    """`true` or `false`.

    Raises:
        BadHeader: if it is neither.
    """
    if not headers.get(name):
        return default
    raw = text(headers[name], name).lower()
    if raw not in ("true", "false"):
        raise BadHeader(name, "true or false", raw)
    return raw == "true"


def or_infinite(value: float | None) -> float:
    """What is not given binds nothing."""
    return math.inf if value is None else value


def number_text(value: float) -> bytes:
    """A number as it is written."""
    if abs(value) < _WHOLE and value == int(value):
        return b"%d" % int(value)
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
