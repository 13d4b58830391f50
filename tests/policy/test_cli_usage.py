"""What is typed wrong is told before anybody is asked: no Kafka is needed to hear of it, and no stack trace is seen."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from infaas.cli.main import app

COLUMNS = 80


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    monkeypatch.setenv("INFAAS_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("TERM", "dumb")


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        pytest.param("register s --application a --model no.onnx --validation-set no.npz", 2, ("--model", "no.onnx", "does not exist"), id="no such model"),
        pytest.param("register s --application a --model . --validation-set no.npz", 2, ("--model", "directory"), id="a folder"),
        pytest.param("register s", 2, ("--application",), id="no application"),
        pytest.param("register s --aplication a", 2, ("--aplication", "--application"), id="a typing error"),
        pytest.param("query --input x=[1]", 1, ("exactly one of --application, --architecture, --variant",), id="no scope"),
        pytest.param("query --input x=[1] --application a --variant b", 1, ("exactly one of", "--variant"), id="two scopes"),
        pytest.param("query --application a", 2, ("--input name=...", "--body"), id="nothing to send"),
        pytest.param("query --application a --body no.json", 2, ("--body", "no.json", "does not exist"), id="no such body"),
        pytest.param("query --application a --input x", 1, ("name=JSON", "'x'"), id="no value"),
        pytest.param("query --application a --input x=[1] --optimize speed", 2, ("--optimize", "accuracy"), id="no such wish"),
        pytest.param("up --cores 0", 2, ("--cores",), id="no cores"),
        pytest.param("regster", 2, ("register",), id="a command mistyped"),
    ],
)  # fmt: skip
def test_what_is_typed_wrong_is_told_by_its_name(typed, status, words):
    result = CliRunner().invoke(app, typed.split())
    assert result.exit_code == status, result.output
    for word in words:
        assert word in result.output.replace("\n", " "), result.output


def commands(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(get_command(app))), ids=" ".join)
def test_every_command_has_help_that_fits_a_terminal(path):
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert max(len(line.rstrip()) for line in result.output.splitlines()) <= COLUMNS
    assert "Usage" in result.output
