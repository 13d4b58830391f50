"""How a process ended, in words that say what to look for."""

import signal
import subprocess
import sys

import pytest

from infaas.host.endings import ending


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "ended with status 1"),
        (-signal.SIGABRT, "was killed by SIGABRT (mostly: a library gave up by itself"),
        (-signal.SIGKILL, "was killed by SIGKILL (mostly: the kernel or the container ran out of memory"),
        (-signal.SIGSEGV, "was killed by SIGSEGV (mostly: a defect of a library"),
        (-signal.SIGUSR1, "was killed by SIGUSR1"),
        (-(signal.SIGRTMIN + 1), f"was killed by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_a_signal_has_its_name_and_what_it_usually_means(status, words):
    assert ending(status).startswith(words)


def test_what_aborts_itself_is_told_as_such():
    done = subprocess.run([sys.executable, "-c", "import os; os.abort()"], check=False)
    assert "SIGABRT" in ending(done.returncode)
