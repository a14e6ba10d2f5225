"""The watcher as its surroundings see it: the service manager, a kernel without inotify left, a disk that fills up."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import room

from repairlab.spool import State

BENCH = Path(__file__).parents[2] / "bench"


class Manager:
    """The service manager's end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(20)
        self.heard: list[str] = []

    def until(self, prefix: str) -> str:
        """Listen until a message starts with `prefix`."""
        while True:
            message = self.socket.recv(4096).decode()
            self.heard.append(message)
            if message.startswith(prefix):
                return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Any]:
    with room.Room(tmp_path / "state", room.peer("by_bundle", log=tmp_path / "state" / "runs.log")) as made:
        yield made


def test_the_service_manager_hears_ready_status_watchdog_reload_and_stop(here: Any, manager: Manager) -> None:
    # WATCHDOG_PID is left out, as in a unit whose main process was started through a wrapper.
    watcher = here.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000", WATCHER_GRACE_S="0")
    manager.until("READY=1")
    manager.until("WATCHDOG=1")
    here.drop(here.behaving("slow 1.5"))
    assert manager.until("STATUS=1 running")
    manager.until("STATUS=0 running, 0 ready or deferred, 1 done")
    assert manager.heard.count("WATCHDOG=1") >= 3
    watcher.send_signal(1)
    assert "MONOTONIC_USEC=" in manager.until("RELOADING=1")
    manager.until("READY=1")
    assert here.stop(watcher) == 0
    manager.until("STOPPING=1")


def test_agents_see_neither_the_notify_socket_nor_secrets_of_the_watcher(here: Any, manager: Manager) -> None:
    told = here.root / "environment-of-the-agent"  # elsewhere: the next attempt begins with an empty directory
    script = f'env >"{told}.$$" && mv "{told}.$$" "{told}"; exit 1'
    here.settings["WATCHER_AGENT"] = json.dumps(["/bin/sh", "-c", script, "agent"])
    job_id = here.drop(here.behaving("noop"))
    watcher = here.start(NOTIFY_SOCKET=manager.address, AWS_SECRET_ACCESS_KEY="hidden", LD_PRELOAD="")
    here.wait(lambda: "crashed" in here.events(job_id))
    seen = told.read_text()
    assert here.stop(watcher) == 0
    assert "REPAIRLAB_ROOT=" in seen
    assert "NOTIFY_SOCKET" not in seen
    assert "hidden" not in seen


def in_namespace(*argv: str) -> bool:
    """Whether this machine lets us have a user namespace of our own."""
    return subprocess.run(["unshare", "-Urm", *argv], capture_output=True).returncode == 0


@pytest.mark.skipif(not in_namespace("true"), reason="needs user namespaces")
def test_without_inotify_the_rescan_finds_arrivals_and_the_watcher_says_so(here: Any) -> None:
    script = f'echo 0 > /proc/sys/user/max_inotify_instances; exec "{sys.executable}" "{room.WATCHER}"'
    with (here.root / "watchers.log").open("ab") as log:
        argv = ["unshare", "-Ur", "sh", "-c", script]
        watcher = subprocess.Popen(argv, env=here.environment, stderr=log, stdin=subprocess.DEVNULL)
    here.watchers.append(watcher)
    here.wait(lambda: "no notifications, only the rescan" in here.said())
    here.wait_state(here.drop(here.behaving("noop")), State.OK)
    assert here.stop(watcher) == 0


@pytest.mark.skipif(not in_namespace("mount", "-t", "tmpfs", "tmpfs", "/mnt"), reason="needs mounts of our own")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_disk_that_fills_up_under_a_job_counts_nothing_and_loses_nothing(tmp_path: Path, when: str) -> None:
    """On a tmpfs of 3 MB, which the agent fills once: before it answers, or after, when the result is due."""
    script = tmp_path / "inside.py"
    script.write_text(FULL.format(bench=BENCH, source=BENCH.parent / "src", root=tmp_path / "disk", when=when))
    (tmp_path / "disk").mkdir()
    mount = f'mount -t tmpfs -o size=3m tmpfs "{tmp_path}/disk" && exec "{sys.executable}" "{script}"'
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


FULL = """
import sys, time
sys.path[:0] = ["{bench}", "{source}"]
from pathlib import Path
import room
from repairlab.spool import State

filler = Path("{root}/state/filler")
fill = 'if mkdir "$0.once" 2>/dev/null; then cat /dev/zero > "$0" 2>/dev/null; fi;'
run = '"$@"; code=$?;'
shell = fill + run + "exit $code" if "{when}" == "before" else run + fill + "exit $code"
with room.Room(Path("{root}/state"), ["/bin/sh", "-c", shell, str(filler), *room.peer("noop")]) as here:
    job = here.drop(here.behaving("noop"))
    watcher = here.start()
    here.wait(filler.exists)
    time.sleep(2)
    counted = [event for event in here.events(job) if event in ("failed", "crashed")]
    assert not counted, (here.job(job).attempts(), here.said())
    assert not here.jobs(State.OK), here.said()
    assert watcher.poll() is None, here.said()
    filler.unlink()
    here.wait_state(job, State.OK)
    assert here.stop(watcher) == 0
    assert not [event for event in here.events(job) if event in ("failed", "crashed")]
    assert len(list(here.challengers.path.glob("*.json"))) == 1
"""


def test_the_warm_agent_repairs_three_modules_with_two_failing_tests(tmp_path: Path, project: Path) -> None:
    examples = [path for path in sorted((project / "examples").glob("*")) if len(list(path.rglob("*.py"))) >= 4]
    if not examples or shutil.which("bwrap") is None:
        pytest.skip("needs the examples and bubblewrap")
    with room.Room(tmp_path / "state", AGENT_WALL_S="50") as here:
        bundle = here.bundles / "example"
        shutil.copytree(examples[0], bundle)
        job_id = here.drop(bundle)
        watcher = here.start()
        job = here.wait_state(job_id, State.OK, State.HARD_FAIL, State.REJECTED, State.DEFERRED, within_s=55)
        assert here.stop(watcher) == 0
        assert job.state is State.OK, here.said()
        patch = (Path(job.path) / "patch.diff").read_bytes()
        applied = subprocess.run(["patch", "-p1", "--dry-run"], cwd=bundle, input=patch, capture_output=True)
        assert applied.returncode == 0, applied.stderr
        assert os.access(Path(job.path) / "telemetry.json", os.R_OK)
