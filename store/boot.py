"""Boot ids: one for each life of a worker's supervisor, ordered as strings.

`b<number>-<random>`: the number is above every one that was ever read for the worker's name. A clock has no part in it: one
that steps back would make the new life older than the last, and all its facts void. The letter puts it above ids that begin
with a digit, as they did when they were times.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

DIGITS = 12
_FORM = re.compile(rf"b(\d{{{DIGITS}}})-[0-9a-f]{{8}}")


def next_boot_id(held: Iterable[str]) -> str:
    """A new one, above all of these."""
    numbers = [int(form[1]) for boot_id in held if (form := _FORM.fullmatch(boot_id))]
    return f"b{max(numbers, default=0) + 1:0{DIGITS}d}-{secrets.token_hex(4)}"


def is_boot_id(text: str) -> bool:
    """Whether this is one."""
    return _FORM.fullmatch(text) is not None


def boot_order(boot_id: str) -> tuple[bool, str]:
    """Sorts lives, the newest last; what is no boot id of ours, whoever wrote it, comes before all that are."""
    return is_boot_id(boot_id), boot_id
