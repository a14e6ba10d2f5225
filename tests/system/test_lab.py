"""The container that the other tests stand on: it is a machine, its limits bite, and nothing of it stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keeper
import pytest
from lab import Failed, Lab

HERE = Path(__file__).parent
OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from lab import Lab
lab = Lab()
lab.boot()
print(lab.name, lab.keeper, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def bare(_possible):
    """A machine without RepairLab."""
    with Lab() as lab:
        lab.boot()
        yield lab


def traces(name: str) -> list[str]:
    """What a container of this name has left: processes, mounts, control groups."""
    left = [str(at) for parent, _ in keeper.hierarchies() for at in parent.glob(name)]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if name.encode() in (process / "cmdline").read_bytes():
                left.append((process / "cmdline").read_text())
        except OSError:
            continue
    if "/run/lab" in Path("/proc/self/mountinfo").read_text():
        left.append("a mount")
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=True)
    return left + [line for line in loops.stdout.splitlines() if "/run/lab/disk.img (deleted)" in line]


def start_owner() -> tuple[subprocess.Popen, str, int]:
    """Start a process that boots a container: it, and the container's name and keeper."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(HERE)], stdout=subprocess.PIPE, text=True)
    name, pid = owner.stdout.readline().split()
    owner.stdout.close()
    return owner, name, int(pid)


@pytest.mark.usefixtures("_possible")
def test_nothing_is_left_of_a_container_whose_test_was_killed():
    owner, name, _ = start_owner()
    assert traces(name), "the look-out does not see a container that runs"
    owner.kill()
    owner.wait()
    Lab.until(lambda: not traces(name), 10)


@pytest.mark.usefixtures("_possible")
def test_a_killed_keeper_takes_its_processes_along_and_the_next_sweeps_its_groups():
    owner, name, pid = start_owner()
    os.kill(pid, signal.SIGKILL)
    Lab.until(lambda: not any(alive for alive in traces(name) if not alive.startswith("/sys/")), 10)
    assert traces(name), "there is nothing to sweep"
    owner.kill()
    owner.wait()
    with Lab():
        assert not traces(name)


@pytest.mark.usefixtures("_possible")
def test_a_closed_container_leaves_nothing():
    with Lab() as lab:
        lab.boot()
    assert not traces(lab.name)


@pytest.mark.parametrize(
    ("limit", "program"),
    [
        ("MemoryMax=32M", "b = bytearray(200 << 20); b[::4096] = b'x' * len(b[::4096])"),
        (
            "TasksMax=5",
            "import threading, time; [threading.Thread(target=time.sleep, args=(1,)).start() for _ in range(20)]",
        ),
    ],
)
def test_the_limits_of_units_bite(bare, limit, program):
    unit = ["systemd-run", "--quiet", "--wait", "--collect", "-p", "MemorySwapMax=0"]
    assert bare.run(*unit, "/usr/bin/python3", "-c", program, check=False).returncode == 0, "without a limit it must do"
    assert bare.run(*unit, "-p", limit, "/usr/bin/python3", "-c", program, check=False).returncode != 0


DATAGRAM = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as own:
    own.bind(("127.0.0.1", 0))
    own.settimeout(5)
    own.sendto(b"x", own.getsockname())
    own.recv(1)
"""


@pytest.mark.parametrize(
    ("policy", "program"),
    [("DevicePolicy=strict", "open('/dev/zero', 'rb').read(1)"), ("IPAddressDeny=any", DATAGRAM)],
    ids=["devices", "addresses"],
)
def test_what_units_may_reach_is_bounded(bare, policy, program):
    unit = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"]
    done = bare.run(*unit, "/usr/bin/python3", "-c", program, check=False)
    assert done.returncode == 0, f"without a policy it must do: {done.stderr}"
    refused = bare.run(*unit, "-p", policy, "/usr/bin/python3", "-c", program, check=False)
    assert "Operation not permitted" in refused.stderr


def test_processor_time_is_shared_out(bare):
    spin = "import time; end = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    unit = [
        "systemd-run",
        "--quiet",
        "--pipe",
        "--wait",
        "--collect",
        "-p",
        "CPUQuota=20%",
        "/usr/bin/python3",
        "-c",
        spin,
    ]
    assert float(bare.run(*unit).stdout) < 0.5


def test_the_machine_around_it_is_out_of_reach(bare):
    assert bare.run("date", "-s", "2001-01-01", check=False).returncode != 0
    assert bare.run("sh", "-c", "ls /sys/class/net").stdout.split() == ["lo"]
    assert not bare.at("/etc/systemd/system/multi-user.target.wants").exists()


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(bare):
    if not bare.disk:
        pytest.skip("no loop device, so no disk that could lose anything")
    bare.run("sh", "-c", "echo kept >/root/kept; sync /root/kept /root; echo lost >/root/lost")
    bare.cut()
    bare.boot()
    assert bare.at("/root/kept").read_text() == "kept\n"
    assert not bare.at("/root/lost").exists()


def test_a_command_that_fails_says_what_it_said(bare):
    with pytest.raises(Failed, match=r"no-such-unit\.service not found"):
        bare.run("systemctl", "start", "no-such-unit.service")


SKIPS = """
import pytest


@pytest.fixture
def _nothing_there():
    pytest.skip("no such thing here")


@pytest.mark.usefixtures("_nothing_there")
def test_by_a_fixture():
    raise AssertionError


@pytest.mark.skipif(True, reason="never here")
def test_by_a_mark():
    raise AssertionError


def test_by_itself():
    pytest.skip("changed its mind")


@pytest.mark.xfail
def test_that_is_expected_to_fail():
    raise AssertionError
"""


@pytest.mark.parametrize(("ci", "told"), [("true", "1 failed, 1 xfailed, 2 errors"), ("", "3 skipped, 1 xfailed")])
def test_in_ci_a_skip_is_a_failure_and_elsewhere_it_is_none(tmp_path, ci, told):
    (tmp_path / "test_skips.py").write_text(SKIPS)
    hook = f"import sys\nsys.path.insert(0, {str(HERE)!r})\nfrom strict import pytest_runtest_makereport\n"
    (tmp_path / "conftest.py").write_text(hook)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
    ]
    env = {**os.environ, "CI": ci}
    done = subprocess.run([*argv, tmp_path], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert told in done.stdout.splitlines()[-1], done.stdout
    assert ("CI must not skip test_by_itself: " in done.stdout) == bool(ci)


def test_a_process_that_ended_while_the_keeper_looked_is_nobody():
    with subprocess.Popen(["true"]) as brief:
        pass
    assert keeper.name_of(brief.pid) == ""
    assert keeper.name_of(os.getpid())
