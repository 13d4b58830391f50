"""What `infaas` lists, and what starting one of its commands imports."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from infaas import cli
from infaas.cli.main import Commands, app

HEAVY = ("numpy", "onnxruntime", "onnx", "scipy", "faststream")
FOLDER = Path(next(iter(cli.__path__)))


def test_each_file_that_defines_a_command_is_in_the_list():
    defining = {
        path.stem
        for path in FOLDER.glob("*.py")
        if path.stem not in ("main", "lazy")
        and ("\n@told\ndef " in (text := path.read_text()) or "typer.Typer(" in text)
    }
    listed = {place.partition(":")[0].rpartition(".")[2] for place in Commands.places.values()}
    assert listed == defining


def test_help_lists_all_of_them_with_what_each_is_for():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for name, command in typer.main.get_group(app).commands.items():
        assert command.name == name
        assert any(
            name in line.split() and command.get_short_help_str(30).rstrip(".") in line for line in shown.splitlines()
        ), f"{name}\n{shown}"


def test_it_says_which_version_it_is():
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"infaas {version('infaas')}\n")


@pytest.mark.parametrize(
    "typed", ["--version", "worker --help", "broker status", "status --help", "variants --help", "topics --help", "dead-letters --help"]
)  # fmt: skip
def test_a_command_imports_nothing_heavy_that_it_does_not_need(typed, tmp_path):
    program = (
        "import sys\nfrom infaas.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *typed.split()], capture_output=True, text=True, check=True, timeout=60,
        env={"PATH": "", "HOME": str(tmp_path), "INFAAS_DATA_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
