"""Every hostile program of tests/attacks/ fails in the sandbox, for the named reason; as a control it succeeds without.

A control runs in the tier "none" or with a raised limit. Where even that would harm the machine that runs the tests
(an endless fork bomb) the attack itself is bounded, just beyond what the sandbox allows.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from repairlab import sandbox as box
from repairlab.sandbox import bubblewrap, seccomp

ATTACKS = Path(__file__).parents[1] / "attacks"
LIMITS = box.SandboxLimits(wall_s=20, cpu_s=20, memory_mb=256, processes=24, open_files=64, tmpfs_mb=4, file_mb=8)
ROOMY = replace(LIMITS, memory_mb=4096, tmpfs_mb=64)
SETTINGS = SimpleNamespace(tier="auto", memory_mb=256, processes=24, tmpfs_mb=4, open_files=64, file_mb=8)
GONE = ["No such file or directory"]


@pytest.fixture(scope="module", params=["bubblewrap"])
def confined_tier(request):
    return box.open_sandbox(SimpleNamespace(**{**vars(SETTINGS), "tier": request.param}))


@pytest.fixture(scope="module")
def no_tier():
    return box.open_sandbox(SimpleNamespace(**{**vars(SETTINGS), "tier": "none"}))


def begin(tier, name, limits=LIMITS, **parameters):
    confined = tier.start((ATTACKS / f"{name}.py").read_bytes(), limits=limits, name=name)
    confined.stream.send(json.dumps(parameters).encode())
    return confined


def attack(tier, name, limits=LIMITS, **parameters):
    """Run an attack to its answer."""
    with begin(tier, name, limits, **parameters) as confined:
        try:
            return json.loads(confined.stream.recv(15))
        except box.StreamError as error:
            ended = confined.wait(5)
            raise AssertionError(f"{error} {ended} {confined.stderr_tail().decode()}") from error


def test_no_file_of_the_host_can_be_read(confined_tier, no_tier, tmp_path):
    job = tmp_path / "spool/repair/active/1/job.json"
    job.parent.mkdir(parents=True)
    job.write_text("{}")
    paths = ["/etc/shadow", "/etc/hostname", str(job), str(ATTACKS / "README.md"), os.path.expanduser("~/.ssh/id_rsa")]
    answer = attack(confined_tier, "read_host_files", paths=paths)
    assert not answer["succeeded"], answer
    assert answer["stopped_by"] == GONE
    assert str(job) in attack(no_tier, "read_host_files", paths=paths)["seen"]


def test_the_environment_of_the_starter_is_nowhere_in_proc(confined_tier, no_tier, monkeypatch):
    monkeypatch.setenv("API_KEY", "the secret that bwrap would inherit")
    secrets = [Path("/proc/self/environ").read_bytes().hex(), b"the secret that bwrap would inherit".hex()]
    for secret in secrets:
        answer = attack(confined_tier, "parent_environment", secret=secret)
        assert not answer["succeeded"], answer
    assert attack(no_tier, "parent_environment", secret=secrets[0])["succeeded"]
    with subprocess.Popen(["/bin/sleep", "60"]) as heir:
        assert attack(no_tier, "parent_environment", secret=secrets[1])["succeeded"]
        heir.kill()


def test_no_network_leads_to_the_host(confined_tier, no_tier):
    name = f"repairlab-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        where = {"port": tcp.getsockname()[1], "abstract": name}
        answer = attack(confined_tier, "network", **where)
        assert not answer["succeeded"], answer
        assert answer["stopped_by"]["AF_INET"] == answer["stopped_by"]["AF_UNIX"] == "Connection refused"
        if seccomp.supported():
            assert answer["stopped_by"]["AF_VSOCK"] == os.strerror(97)
        assert {"AF_INET", "AF_UNIX"} <= set(attack(no_tier, "network", **where)["reached"])


def test_the_starter_can_be_neither_signalled_nor_traced(confined_tier, no_tier):
    with subprocess.Popen(["/bin/sleep", "60"]) as victim:
        seize = {"pid": victim.pid, "ptrace": 0x4206}
        answer = attack(confined_tier, "signal_parent", **seize)
        control = attack(no_tier, "signal_parent", **seize)
        victim.kill()
    assert not answer["succeeded"], answer
    assert answer["stopped_by"]["kill"] == "No such process"
    assert "kill" in control["done"]


def test_nothing_outside_the_work_directory_can_be_written(confined_tier, no_tier, tmp_path):
    (tmp_path / "there").touch()
    paths = ["/x", "/dev/x", "/usr/x", "/etc/x", "/etc/passwd", "/root/x", "/var/tmp/x", f"{sys.prefix}/bin/x"]
    paths += [str(tmp_path / "there"), f"{sys.prefix}/lib/x", "/proc/sys/kernel/x", "/dev/mqueue/x"]
    rewrite = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/printk_ratelimit", "/proc/sys/vm/overcommit_memory"]
    answer = attack(confined_tier, "write_outside", paths=paths, rewrite=rewrite)
    assert not answer["succeeded"], answer
    control = attack(no_tier, "write_outside", paths=[str(tmp_path / "there")], rewrite=[])
    assert control["written"] == [str(tmp_path / "there")]


@pytest.mark.root
def test_root_without_a_capability_could_write_sysctls_if_bwrap_ran_as_root():
    script = "p=/proc/sys/kernel/printk_ratelimit; v=$(cat $p); echo $v > $p && echo written"
    options = "--unshare-all --uid 1000 --cap-drop ALL --ro-bind /usr /usr --symlink usr/bin /bin --proc /proc"
    options += " --symlink usr/lib /lib --symlink usr/lib64 /lib64"
    bwrap = [bubblewrap.find(), *options.split(), "/bin/sh", "-c", script]
    done = subprocess.run(bwrap, capture_output=True, text=True, env={})
    assert "written" in done.stdout, done.stderr  # the day this fails, running as nobody is no longer needed
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    done = subprocess.run([*nobody, *bwrap], capture_output=True, text=True, env={})
    assert "written" not in done.stdout


def test_the_disk_cannot_be_filled(confined_tier, no_tier):
    answer = attack(confined_tier, "fill_disk", everywhere=True, files=12, file_mb=4)
    assert not answer["succeeded"], answer
    assert answer["stopped_by"] == "No space left on device"
    assert answer["bytes"] <= (LIMITS.tmpfs_mb + LIMITS.tmpfs_mb // 4 + 16) << 20
    assert attack(no_tier, "fill_disk", everywhere=False, files=12, file_mb=4)["succeeded"]


def test_a_file_cannot_grow_beyond_its_bound(confined_tier):
    answer = attack(confined_tier, "fill_disk", ROOMY, everywhere=False, files=1, file_mb=9)
    assert answer["stopped_by"] == "File too large"
    assert attack(confined_tier, "fill_disk", ROOMY, everywhere=False, files=1, file_mb=8)["succeeded"]


def test_empty_files_are_counted_too(confined_tier):
    tight = replace(LIMITS, tmpfs_mb=1)
    with begin(confined_tier, "many_files", tight, files=tight.inodes + 1) as confined:
        ended = confined.wait(15)
    assert ended is not None
    assert ended.why is box.Why.INODES
    assert attack(confined_tier, "many_files", replace(LIMITS, tmpfs_mb=16), files=tight.inodes + 1)["succeeded"]


def test_one_process_cannot_take_more_memory_than_it_may(confined_tier):
    answer = attack(confined_tier, "memory", mb=512)
    assert answer["stopped_by"] == "MemoryError"
    assert answer["mb"] < LIMITS.memory_mb
    assert attack(confined_tier, "memory", ROOMY, mb=512)["succeeded"]


def test_many_processes_together_cannot_either(confined_tier):
    with begin(confined_tier, "memory_of_many", processes=6, mb=100) as confined:
        ended = confined.wait(15)
    assert ended is not None
    assert ended.why is box.Why.MEMORY
    assert attack(confined_tier, "memory_of_many", ROOMY, processes=6, mb=100)["succeeded"]


def test_forks_that_share_their_memory_are_not_counted_twice(confined_tier):
    program = b"""
import os, time
held = bytearray(b"\\1") * (100 << 20)
for _ in range(10):
    if os.fork() == 0:
        time.sleep(60)
time.sleep(0.3)
stream.send(b"fine")
"""
    with confined_tier.start(program, limits=LIMITS) as confined:
        assert confined.stream.recv(10) == b"fine"


@pytest.mark.skipif(not seccomp.supported(), reason="no filter for this architecture")
def test_memory_cannot_be_hidden_from_the_count(confined_tier, no_tier):
    answer = attack(confined_tier, "hidden_memory")
    assert not answer["succeeded"], answer
    assert set(attack(no_tier, "hidden_memory")["done"]) == {"memfd", "shm"}


def test_a_fork_bomb_ends_at_the_bound(confined_tier, no_tier):
    answer = attack(confined_tier, "fork_bomb", processes=LIMITS.processes + 10)
    assert not answer["succeeded"], answer
    assert answer["stopped_by"] == "Resource temporarily unavailable"
    assert answer["made"] < LIMITS.processes
    assert attack(no_tier, "fork_bomb", processes=LIMITS.processes + 10)["succeeded"]


def test_threads_count_as_processes(confined_tier, no_tier):
    answer = attack(confined_tier, "thread_bomb", threads=LIMITS.processes + 10)
    assert not answer["succeeded"], answer
    assert attack(no_tier, "thread_bomb", threads=LIMITS.processes + 10)["succeeded"]


def still_speaks(confined):
    """Whether anything inside still holds the stream after the program has ended."""
    assert confined.wait(10) is not None
    heard = 0
    try:
        while True:
            confined.stream.recv(0.5)
            heard += 1
            if heard > 50:
                return True
    except box.StreamError:
        return False


def test_a_daemon_ends_with_the_program_that_left_it(confined_tier, no_tier):
    with begin(confined_tier, "daemon") as confined:
        assert not still_speaks(confined)
    with begin(no_tier, "daemon") as control:
        assert still_speaks(control)


def test_the_deadline_ends_what_is_deaf_to_signals(confined_tier):
    with begin(confined_tier, "deadline", replace(LIMITS, wall_s=0.4)) as confined:
        started = time.monotonic()
        assert confined.stream.recv(5) == b"asleep"
        ended = confined.wait(5)
    assert ended == box.Ended(box.Why.WALL, None, 9)
    assert time.monotonic() - started < 1.5
    with begin(confined_tier, "deadline") as control:
        assert control.wait(0.8) is None


def test_no_descriptor_of_the_host_goes_along(confined_tier, tmp_path):
    (tmp_path / "secret").write_text("the secret")
    with open(tmp_path / "secret", "rb") as file:
        os.set_inheritable(file.fileno(), True)
        answer = attack(confined_tier, "inherited_descriptors", secret="the secret")
        assert not answer["succeeded"], answer
        assert not [path for path in answer["stopped_by"] if path.startswith(str(tmp_path))]
        ours, theirs = socket.socketpair()
        with ours, theirs:
            os.set_inheritable(theirs.fileno(), True)
            source = Path(box.api.inside.__file__).read_text() + f"\nstream = Stream({theirs.fileno()})\n"
            source = source.replace('__name__ == "__main__"', "False")
            source += (ATTACKS / "inherited_descriptors.py").read_text()
            with subprocess.Popen([sys.executable, "-c", source], close_fds=False):
                stream = box.Stream(ours)
                stream.send(json.dumps({"secret": "the secret"}).encode())
                assert json.loads(stream.recv(10))["succeeded"]


def test_a_flood_of_output_waits_for_us(confined_tier):
    with begin(confined_tier, "flood", seconds=0.6) as confined:
        written = json.loads(confined.stream.recv(10))["bytes"]
        assert confined.kill()
        assert len(confined.stderr_tail()) <= 1 << 16
    with subprocess.Popen(["timeout", "0.6", "cat", "/dev/zero"], stdout=subprocess.PIPE) as control:
        unbounded = sum(map(len, iter(lambda: control.stdout.read(1 << 16), b"")))
    assert written < 8 << 20 < unbounded


def test_a_fork_cannot_answer_in_the_name_of_its_server(confined_tier):
    assert not attack(confined_tier, "forged_frames", sealed=True)["succeeded"]
    assert attack(confined_tier, "forged_frames", sealed=False)["succeeded"]


REFUSED = ["absolute", "dotdot", "dot", "empty", "nul", "twice", "symlink", "device", "cut", "longer"]
REFUSED += ["garbage", "latin"]


@pytest.mark.parametrize("case", [*REFUSED, "many"])
def test_files_that_would_lie_elsewhere_are_refused(confined_tier, case):
    with begin(confined_tier, "escaping_files", case=case) as confined, pytest.raises(box.StreamError):
        confined.stream.recv_files(10)


def test_honest_files_are_taken(confined_tier):
    with begin(confined_tier, "escaping_files", case="honest") as confined:
        assert confined.stream.recv_files(10) == {"a/b.py": b"x"}


@pytest.mark.parametrize(
    ("case", "error"),
    [("oversize", box.FrameTooLarge), ("stalled", box.StreamTimeout), ("closed", box.StreamClosed)],
)
def test_a_broken_stream_is_named(confined_tier, case, error):
    with begin(confined_tier, "broken_frames", case=case) as confined:
        with pytest.raises(error):
            confined.stream.recv(0.5)
        if case == "closed":
            assert confined.wait(5) == box.Ended(box.Why.EXITED, 3, None)


def test_no_namespace_can_be_made_inside(confined_tier):
    answer = attack(confined_tier, "namespaces")
    assert not answer["succeeded"], answer
    assert answer["capabilities"] == "0" * 16
    assert answer["no_new_privileges"] == "1"


@pytest.mark.root
def test_a_namespace_could_be_made_without(no_tier):
    assert "unshare" in attack(no_tier, "namespaces")["done"]


def test_every_attack_is_run():
    tried = Path(__file__).read_text()
    for path in ATTACKS.glob("*.py"):
        assert f'"{path.stem}"' in tried


def test_the_sandbox_dies_with_the_process_that_started_it(confined_tier):
    starter = f"""
import sys
sys.path.insert(0, {str(Path(box.__file__).parents[2])!r})
from types import SimpleNamespace
from repairlab import sandbox
tier = sandbox.open_sandbox(SimpleNamespace(**{vars(SETTINGS)!r}))
confined = tier.start("import time; time.sleep(60)")
print(confined._keeper._members._first, confined._keeper._process.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        handles = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        process.kill()
        for handle in handles:
            assert ended(handle, time.monotonic() + 5)
            os.close(handle)


def ended(handle, deadline):
    return bool(select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0])
