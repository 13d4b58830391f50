"""A run of the tests that is interrupted leaves nothing behind: no process, no folder."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import family, left_of, start

TESTS = Path(__file__).parents[1]
READY_S, TIDY_S = 60.0, 60.0


class Run:
    """Some tests of ours in a run of their own, with a folder of its own for temporary files."""

    def __init__(self, folder, *options):
        (folder / "tmp").mkdir()
        self.temporary, self.log, report = folder / "tmp", folder / "log", folder / "waiting"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("INFAAS_", "PYTEST_"))}
        environment |= {"TMPDIR": str(self.temporary), "WAITING": str(report)}
        with self.log.open("wb") as out:
            self.process = start(
                [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, TESTS / "support" / "waiting.py"],
                cwd=TESTS.parent, env=environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_S
        while not report.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.processes = family(self.process.pid)
        pids = json.loads(report.read_text())
        self.worker, self.service = pids["process"], psutil.Process(pids["service"])


@pytest.mark.parametrize(
    ("options", "interrupt"),
    [
        pytest.param((), lambda run: run.process.terminate(), id="SIGTERM"),
        pytest.param(("-n1",), lambda run: run.process.terminate(), id="SIGTERM, in parallel"),
        pytest.param(("-n1",), lambda run: os.killpg(run.process.pid, signal.SIGINT), id="Ctrl-C, in parallel"),
        pytest.param(("-n1",), lambda run: run.process.kill(), id="kill -9, in parallel"),
        pytest.param(
            ("-n1", "--max-worker-restart=0"), lambda run: os.kill(run.worker, signal.SIGKILL), id="kill -9 of a worker"
        ),
    ],
)
def test_an_interrupted_run_leaves_nothing_behind(options, interrupt, tmp_path):
    run = Run(tmp_path, *options)
    kafka = [process for process in run.processes if process.name() == "java"]
    assert len(kafka) == 1
    assert run.service in run.processes
    assert list(run.temporary.glob("infaas-kafka-*"))
    interrupt(run)
    run.process.wait(TIDY_S)
    left = left_of(run.processes)
    for process in left:
        process.kill()
    assert left == [], run.log.read_text()
    assert [path.name for path in run.temporary.iterdir() if not path.name.startswith("pytest-of-")] == []
