"""The README's first steps, as they stand there: each block is run, in its order, by somebody who has nothing but them."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import family, left_of, start

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = dict(re.findall(r"^```(\w+ \w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
KCAT = Path(__file__).parents[1] / "support" / "kcat.py"
READY_S = 90.0
ANSWER_S = 60.0


@pytest.fixture
def shell(tmp_path):
    """A user's terminal: a folder, `infaas` and `kcat` on the path; no setting of ours."""
    commands = tmp_path / "bin"
    commands.mkdir()
    scripts = {"infaas": f"{sys.executable} -m infaas.cli.main", "python": sys.executable}
    if shutil.which("kcat") is None:
        scripts["kcat"] = f"{sys.executable} {KCAT}"
    for name, command in scripts.items():
        (commands / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (commands / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFAAS_")}
    environment |= {
        "PATH": f"{commands}:{os.environ['PATH']}", "XDG_DATA_HOME": str(tmp_path / "share"),
        "INFAAS_WORKER_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "80",
    }  # fmt: skip

    def run(block):
        program = ["python", "-c", BLOCKS[block]] if block.startswith("python") else ["sh", "-e", "-c", BLOCKS[block]]
        done = subprocess.run(
            program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
        return done.stdout

    run.environment, run.folder = environment, tmp_path
    return run


@contextlib.contextmanager
def up(shell):
    log = shell.folder / "up.log"
    with log.open("wb") as out:
        process = start(
            ["sh", "-c", f"exec {BLOCKS['sh up']}"], cwd=shell.folder, env=shell.environment, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_S
        while "export INFAAS_BOOTSTRAP_SERVERS=127.0.0.1:" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        everybody = family(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert left_of(everybody) == []


def test_the_readme_works_as_written(shell):
    with up(shell):
        shell("python train")
        assert "linear.v1.onnxruntime-cpu1-fp32" in shell("sh register")
        assert "linear.v1.onnxruntime-cpu1-fp32" in shell("sh query")
        label, labels = shell("python query").splitlines()
        assert re.match(r"\[[01] [01]\] linear\.v1\.\S+ (0\.9|1\.0)", label)
        assert re.fullmatch(r"\[[01], [01]\]", labels)
        deadline = time.monotonic() + ANSWER_S
        while "correlation-id=42" not in (seen := shell("sh kcat")):
            assert time.monotonic() < deadline, seen
        assert "infaas-outcome=ok" in seen
