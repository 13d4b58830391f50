"""What is compiled is used for exactly the files it was made from, all of it or none; else they run as Python."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"tested_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiling, finding = load("hatch_compile"), load("infaas_compiled_finder")
COMPILED = [
    f"infaas.{folder.replace('/', '.')}.{module}"
    for folder, modules in compiling.MODULES.items()
    for module in modules.split()
]


@pytest.fixture
def dev(tmp_path, monkeypatch):
    """A folder such as `.dev`, in which one module is compiled."""
    monkeypatch.delenv("INFAAS_COMPILED", raising=False)
    (tmp_path / "infaas" / "bus").mkdir(parents=True)
    for name in ("progress", "errors"):
        (tmp_path / "infaas" / "bus" / f"{name}.py").write_text(f"'''{name}'''")
    made = {
        "python": sys.implementation.cache_tag,
        "sources": compiling.sources(tmp_path),
        "libraries": {"infaas.bus.progress": "infaas/bus/progress.so"},
    }
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "sources.json").write_text(json.dumps(made))
    return tmp_path


def found(dev, name="infaas.bus.progress"):
    finder = finding.Finder(str(dev / "compiled"))
    return finder.find_spec(name), finder.why_not


def test_what_was_made_from_these_files_is_used(dev):
    spec, why_not = found(dev)
    assert (Path(spec.origin), why_not) == (dev / "compiled" / "infaas" / "bus" / "progress.so", "")


@pytest.mark.parametrize("name", ["infaas.bus.errors", "infaas.bus", "infaas", "numpy"])
def test_what_is_not_compiled_is_not_found(name, dev):
    assert found(dev, name)[0] is None


@pytest.mark.parametrize("edited", ["progress", "errors"])
def test_an_edited_file_is_never_shadowed_and_neither_are_those_it_is_used_with(edited, dev):
    source = dev / "infaas" / "bus" / f"{edited}.py"
    before = source.stat()
    source.write_text(source.read_text().upper())  # as long as before
    assert source.stat().st_size == before.st_size
    spec, why_not = found(dev)
    assert spec is None
    assert f"infaas/bus/{edited}.py has changed" in why_not


def test_what_was_edited_and_is_as_it_was_is_used(dev):
    source = dev / "infaas" / "bus" / "progress.py"
    source.write_text(source.read_text())
    assert found(dev)[0] is not None


def test_a_file_that_is_gone_is_a_change(dev):
    (dev / "infaas" / "bus" / "errors.py").unlink()
    assert found(dev)[0] is None


def test_another_python_is_a_change(dev):
    told = dev / "compiled" / "sources.json"
    told.write_text(told.read_text().replace(sys.implementation.cache_tag, "cpython-39"))
    assert found(dev) == (None, "Python has changed since it was compiled: make compile")


def test_it_can_be_told_not_to(dev, monkeypatch):
    monkeypatch.setenv("INFAAS_COMPILED", "0")
    assert found(dev) == (None, "INFAAS_COMPILED=0")


def test_what_was_not_compiled_is_python_and_says_why(tmp_path):
    assert found(tmp_path) == (None, "it is not there: make compile")
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "why_not").write_text("there is no C compiler (cc)")
    assert found(tmp_path) == (None, "there is no C compiler (cc)")


def test_what_is_not_wanted_is_not_found(dev):
    finder = finding.Finder(str(dev / "compiled"))
    finder.off()
    assert finder.find_spec("infaas.bus.progress") is None


def test_installed_twice_it_is_there_once(dev, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", before := [*sys.meta_path])
    monkeypatch.setattr(finding, "finder", None)
    finding.install(str(dev / "compiled"))
    finding.install(str(dev / "compiled"))
    assert [one for one in before if isinstance(one, finding.Finder)] == [finding.finder]


def test_what_is_to_be_compiled_is_there_and_is_checked_for_edits():
    for name in COMPILED:
        assert (ROOT / (name.removeprefix("infaas.").replace(".", "/") + ".py")).exists(), name
        assert name.split(".")[1] in compiling.IMPORTED


def test_the_compiler_is_the_type_checker_that_is_tested():
    (version,) = re.findall(r"mypy==[\d.]+", (ROOT / "hatch_build.py").read_text())
    assert version in (ROOT / "constraints.txt").read_text().splitlines()


def test_a_service_runs_all_of_it_compiled_or_none():
    origins = "import sys, importlib; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", origins, *COMPILED], capture_output=True, text=True, check=True)
    files = done.stdout.split()
    assert len(files) == len(COMPILED)
    assert len({Path(file).suffix for file in files}) == 1


def test_what_stands_here_can_be_compiled():
    say = "from infaas.cli.compiled import compiled; print(compiled())"
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    assert "failed" not in done.stdout, "mypyc does not take what was written: make compile"


def test_a_test_runs_the_files_themselves():
    from infaas.router import loop

    assert loop.__file__.endswith(".py")
