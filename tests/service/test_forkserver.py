"""A fork server on the real kernel: a copy is its service's own child, and nothing that dies leaves another behind or waiting."""

import errno
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from processes import left_of

from infaas.host.forkserver import FORK_S, ForkServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a subreaper")
SCRIPT = str(Path(__file__).resolve().parents[1] / "support" / "forking.py")
MIB = 2**20


def came(scenario):
    done = subprocess.run([sys.executable, SCRIPT, scenario], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_copy_is_its_services_own_child_with_what_was_asked_for():
    about = came("starts")
    assert about["parent"] == about["service"]
    assert about["cores"] == [about["core"]]
    assert (about["memory_bytes"], about["mark"], about["module"]) == (900 * MIB, "here", "a.module")
    assert about["imported"], "what the server has imported need not be imported again"
    assert about["title"] == ["-m", "a.module"]
    assert about["titles"] == [[SCRIPT, "starts"], ["-m", "infaas.host.forkserver"]], "nobody takes one for the other"
    assert about["interrupts"]
    assert about["board"] == "it was here"
    assert about["status"] == 7


def test_the_first_copy_waits_for_the_imports_which_take_longer_by_oneself():
    assert came("starts_the_first_while_the_server_imports") == {"status": -signal.SIGKILL}


def test_a_copy_outlives_its_server_and_there_is_no_other():
    assert came("outlives_its_server") == {
        "lives": True, "another": False, "ready": False, "status": -signal.SIGKILL,
    }  # fmt: skip


def test_a_server_ends_in_good_order_with_a_service_that_started_nothing():
    assert came("ends_with_a_service_that_started_nothing") == {"status": 0}


def test_a_server_that_hangs_is_waited_for_once_and_not_long():
    about = came("does_not_wait_for_a_server_that_hangs")
    assert (about["first"], about["second"]) == (False, False)
    assert about["took_s"] < FORK_S + 2.0


def test_a_service_without_room_for_streams_says_so_and_loses_none():
    assert came("has_streams_for_none") == {"refused": [errno.EMFILE] * 3, "open": 0}


def test_server_and_copies_end_with_a_service_that_is_killed():
    service = subprocess.Popen([sys.executable, SCRIPT, "is_killed"], stdout=subprocess.PIPE)
    processes = [psutil.Process(pid) for pid in json.loads(service.stdout.readline()).values()]
    service.kill()
    service.wait()
    service.stdout.close()
    assert left_of(processes) == []


def test_a_process_with_threads_gets_no_server():
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert psutil.Process().num_threads() > 1
        server = ForkServer.fork(("colorsys",))
    finally:
        end.set()
        thread.join()
    assert isinstance(server, ForkServer)
    assert (server.ready, server.pid) == (False, 0)
