"""The shim by itself: without landlock's scopes, under a hostile child, for clients that vanish or say nothing.

Root runs it under a dynamic uid, which nobody else has; `promises.py` of the system tier asks it in its units.
"""

import array
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from repairlab import sandbox as box
from repairlab.errors import Unavailable
from repairlab.sandbox.shimmed import DEVICES, READABLE, _Service

PYTHON = "/usr/bin/python3"
UID = 61300  # of systemd's dynamic ones
LIMITS = box.SandboxLimits(wall_s=20, memory_mb=256, processes=16, tmpfs_mb=64)
pytestmark = pytest.mark.root
SHIM = """import sys; sys.path.insert(0, {source!r})
from repairlab.errors import reported
from repairlab.sandbox import inside, shim
{patch}
sys.exit(reported(shim.main, []))"""
EXCHANGE = ["/bin/sh", "-c", 'exec "$@" 3<&0 0</dev/null', "sh"]
OLD_KERNEL = "inside.landlock_abi = lambda: 2"
HOSTILE = """
import ctypes, fcntl, json, os, signal, struct
shim = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
def called(number, *arguments):
    return "done" if libc.syscall(number, *arguments) >= 0 else os.strerror(ctypes.get_errno())
def tried(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return error.strerror
ours, theirs = os.pipe()
stream.send(json.dumps({
    "kill": tried(os.kill, shim, signal.SIGSTOP), "all": tried(os.kill, -1, signal.SIGSTOP),
    "group": tried(os.killpg, shim, signal.SIGSTOP), "thread": called(200, shim, signal.SIGSTOP),
    "queue": called(129, shim, signal.SIGSTOP, 0), "pidfd": tried(os.pidfd_open, shim),
    "owner": tried(fcntl.fcntl, ours, fcntl.F_SETOWN, shim),
    "ioctl": tried(fcntl.ioctl, ours, 0x8901, struct.pack("i", shim)),
    "itself": tried(os.kill, os.getpid(), 0),
}).encode())
if os.fork() == 0:
    os.setsid()
import time
time.sleep(60)
"""


@pytest.fixture(scope="module")
def source(project):
    """The sources where a stranger can read them."""
    if not Path(PYTHON).exists():
        pytest.skip("no system interpreter")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        shutil.copytree(project / "src/repairlab", Path(directory, "repairlab"), copy_function=shutil.copyfile)
        for path in Path(directory).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield directory


@contextlib.contextmanager
def shim(source, patch="", uid=UID):
    """A shim of another user's: our end of its connection, and its process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(20)
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--inh-caps=-all", "--"]
    with theirs:
        process = subprocess.Popen(
            [*become, *EXCHANGE, PYTHON, "-P", "-c", SHIM.format(source=source, patch=patch)],
            stdin=theirs.fileno(),
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
        )
    try:
        yield ours, process
    finally:
        ours.close()
        process.kill()
        process.communicate()


def order(work, **changes):
    env = {**box.api.FIXED_ENV, "HOME": work, "TMPDIR": work}
    argv = box.api.boot_argv(PYTHON, 3)
    bounds = {"memory_mb": 256, "tmpfs_mb": 64, "inodes": 1000, "processes": 16}
    places = {"work": work, "env": env, "read": READABLE, "write": [work, *DEVICES], "owned": True}
    return {"argv": argv, "namespaces": False, **bounds, **places, **changes}


@pytest.fixture
def work():
    at = tempfile.mkdtemp(prefix="repairlab-test-")
    os.chown(at, UID, UID)
    yield at
    shutil.rmtree(at, ignore_errors=True)


def confined(ours, work, program, **changes):
    inside = {"parent": 0, "limits": box.api.rlimits(LIMITS), "env": {}, "name": "<test>"}
    return _Service("systemd", ours).hand_over(order(work, **changes), inside, program.encode(), LIMITS)


def test_on_an_older_kernel_a_child_cannot_stop_the_process_that_keeps_it(source, work):
    with shim(source, OLD_KERNEL) as (ours, process), confined(ours, work, HOSTILE) as child:
        told = json.loads(child.stream.recv(10))
        assert told.pop("itself") == "done"
        assert set(told.values()) == {"Operation not permitted"}, told
        began = time.monotonic()
        assert child.kill() == box.Ended(box.Why.KILLED, None, 9)
        assert time.monotonic() - began < 5
        process.wait(10)
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and owner(pid) == UID], "something is left"


def owner(pid):
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid
    return None


def test_on_an_older_kernel_a_user_of_many_processes_is_not_confined(source, work):
    with shim(source, OLD_KERNEL, uid=65534) as (ours, _), pytest.raises(Unavailable, match="ABI 2"):
        os.chown(work, 65534, 65534)
        confined(ours, work, HOSTILE)


def test_a_client_that_says_nothing_is_waited_for_no_longer_than_it_takes(source):
    with shim(source, "shim.ORDER_S = 0.2") as (_, process):
        assert process.wait(10) == 0
        assert process.stderr.read() == b""


def test_a_shim_that_is_killed_is_told_as_lost(source, work):
    with shim(source) as (ours, process), confined(ours, work, "import time; time.sleep(60)") as child:
        process.kill()
        assert child.wait(10).why is box.Why.LOST


def test_what_a_job_wrote_is_gone_when_its_client_has_died(source, work):
    write = "import os, time\nos.makedirs('a/b'); open('a/b/c', 'w').close(); stream.send(b'here'); time.sleep(60)"
    with shim(source) as (ours, process):
        child = confined(ours, work, write)
        assert child.stream.recv(10) == b"here"
        assert os.listdir(work)
        ours.shutdown(socket.SHUT_RDWR)  # as the kernel does for a client that was killed
        process.wait(10)
        assert os.listdir(work) == []
        child.kill()
        child.stream.close()


def test_files_of_the_user_keep_their_modes_owners_and_attributes(source, work):
    theirs = tempfile.mkdtemp()
    os.chown(theirs, UID, UID)
    os.chmod(theirs, 0o700)
    attack = f"""
import json, os
errors = {{}}
for name, call in {{
    "chmod": lambda: os.chmod({theirs!r}, 0o777), "chown": lambda: os.chown({theirs!r}, -1, {UID}),
    "xattr": lambda: os.setxattr({theirs!r}, "user.x", b"x" * 100), "utime": lambda: os.utime({theirs!r}, (1, 1)),
}}.items():
    try:
        call()
    except OSError as error:
        errors[name] = error.strerror
stream.send(json.dumps(errors).encode())
"""
    try:
        with shim(source) as (ours, _), confined(ours, work, attack) as child:
            told = json.loads(child.stream.recv(10))
        assert set(told.values()) == {"Operation not permitted"}
        assert {"chown", "xattr"} <= set(told)
        status = os.stat(theirs)
        assert status.st_mode & 0o7777 == 0o700, "chmod and utime only say that they have done it"
        assert status.st_mtime > 1
        assert os.listxattr(theirs) == []
    finally:
        os.rmdir(theirs)


def test_too_many_processes_are_told_as_such(source, work):
    bomb = "import os, time\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(60)"
    with shim(source) as (ours, _), confined(ours, work, bomb, processes=20) as child:
        assert child.wait(10).why is box.Why.PROCESSES


def test_an_order_without_descriptors_is_no_order(source):
    with shim(source) as (ours, process):
        ours.sendmsg([b"{}"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        assert process.wait(10) == 0
