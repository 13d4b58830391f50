"""What the house style counts: how long a function is, and a file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "bus", "cli", "client", "docs", "engines", "examples", "host", "policy", "registrar", "replay", "router", "scaler",
           "schemas", "store", "tests", "workers")  # fmt: skip
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
}
FUNCTION_LINES, FILE_LINES = 40, 400
LONGER = {
    # A command's parameters are its options, each with its help; Kafka's settings, each with its reason.
    "cli/register.py register", "cli/up.py up", "bus/embedded/broker.py start",
    "host/spawn.py spawn",
    # A model's rules stand together.
    "docs/spec/work.py workers", "docs/spec/mc.py components",
    "workers/serve.py compose", "scaler/building.py place_builds", "scaler/greedy.py decide",
}  # fmt: skip
"""Longer than a function should be; nobody is added, and who is shortened goes."""
LARGER = {
    "tests/kafka/test_scaler.py", "tests/policy/test_ownership.py", "tests/policy/test_registrar_policies.py",
    "tests/policy/test_scaler_policies.py",
}  # fmt: skip
"""Likewise, files."""


def lengths(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_function_is_longer_than_can_be_seen_at_once():
    longer = {
        f"{path} {name}"
        for path, source in SOURCES.items()
        for name, lines in lengths(source)
        if lines > FUNCTION_LINES
    }
    assert longer - LONGER == set(), "split it"
    assert LONGER - longer == set(), "it is short now: take it out of the list"


def test_no_file_is_longer_than_can_be_read_at_once():
    larger = {path for path, source in SOURCES.items() if source.count("\n") > FILE_LINES}
    assert larger - LARGER == set(), "split it"
    assert LARGER - larger == set(), "it is short now: take it out of the list"


@pytest.mark.parametrize(("lines", "expected"), [(38, 40), (39, 41)])
def test_the_length_is_all_of_a_function(lines, expected):
    assert dict(lengths("def f(\n    a): \n" + "    a\n" * lines)) == {"f": expected}
