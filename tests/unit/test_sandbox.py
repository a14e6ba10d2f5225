"""sandbox: what every tier promises, and which tier there is."""

import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from repairlab import sandbox as box
from repairlab.config import Settings
from repairlab.errors import TemporaryFailure, Unavailable
from repairlab.sandbox import bubblewrap

SETTINGS = SimpleNamespace(tier="auto", memory_mb=256, processes=16, tmpfs_mb=4, open_files=64, file_mb=8)
NONE = SimpleNamespace(**{**vars(SETTINGS), "tier": "none"})
LIMITS = box.SandboxLimits(wall_s=20, cpu_s=20, memory_mb=256, processes=16, tmpfs_mb=4)


@pytest.fixture(scope="module", params=["auto", "none"])
def tier(request):
    return box.open_sandbox(SimpleNamespace(**{**vars(SETTINGS), "tier": request.param}))


@pytest.fixture(scope="module")
def confined_tier():
    return box.open_sandbox(SETTINGS)


def ask(tier, program, **options):
    """Run a program that sends one frame and return the frame."""
    with tier.start(program, **{"limits": LIMITS, **options}) as confined:
        try:
            return confined.stream.recv(10).decode()
        except box.StreamError:
            raise AssertionError(confined.stderr_tail().decode()) from None


# What every tier promises


def test_files_go_in_and_come_back(tier):
    program = b"""
count = recv_files(stream)
import subprocess
subprocess.run(["./run"], check=True)
send_files(stream, read_files(".", ["pkg/a.py", "out"]))
stream.send(b"%d" % count)
"""
    entries = [
        ("pkg/a.py", "f", b"x" * 3_000_000),
        ("run", "x", b"#!/bin/sh\ncp link out\n"),
        ("link", "l", b"pkg/a.py"),
    ]
    with tier.start(program, limits=replace(LIMITS, tmpfs_mb=16)) as confined:
        confined.stream.send_files(entries)
        assert confined.stream.recv_files(10) == {"pkg/a.py": b"x" * 3_000_000, "out": b"x" * 3_000_000}
        assert confined.stream.recv(10) == b"3"
        assert confined.wait(10) == box.Ended(box.Why.EXITED, 0, None)


def test_a_fresh_one_has_an_empty_work_directory_and_our_environment_only(tier):
    program = "import os\nstream.send(repr((os.listdir(), sorted(os.environ), os.environ['A'])).encode())"
    listed, names, value = eval(ask(tier, program, env={"A": "b=c"}))
    assert listed == []
    assert value == "b=c"
    assert set(names) <= {*box.api.FIXED_ENV, "A", "PWD", "LC_CTYPE"}


def test_it_is_the_first_to_go_when_memory_runs_out(tier):
    assert ask(tier, "stream.send(open('/proc/self/oom_score_adj', 'rb').read())") == "1000\n"


def test_a_bundle_cannot_shadow_what_the_program_imports(tier):
    program = """
open("colorsys.py", "w").write("raise SystemExit('shadowed')")
import colorsys, sys
stream.send(repr([path for path in sys.path if path in ("", ".")]).encode())
"""
    assert ask(tier, program) == "[]"


def test_the_interpreters_own_packages_are_there(tier):
    assert ask(tier, "import pytest\nstream.send(pytest.__name__.encode())") == "pytest"


def test_the_program_is_main_and_its_traceback_names_its_lines(tier):
    with tier.start("assert __name__ == '__main__'\n\n1 / 0\n", limits=LIMITS, name="server.py") as confined:
        assert confined.wait(10) == box.Ended(box.Why.EXITED, 1, None)
        assert 'File "server.py", line 3' in confined.stderr_tail().decode()
        with pytest.raises(box.StreamClosed):
            confined.stream.recv(1)


def test_how_it_ended_is_told(tier):
    for program, ended in (
        ("import os; os._exit(5)", box.Ended(box.Why.EXITED, 5, None)),
        ("import os; os.kill(os.getpid(), 11)", box.Ended(box.Why.SIGNALLED, None, 11)),
        ("while True: pass", box.Ended(box.Why.SIGNALLED, None, 9)),
    ):
        with tier.start(program, limits=replace(LIMITS, cpu_s=1)) as confined:
            assert confined.wait(10) == ended


def test_a_kill_is_told_apart_from_an_end(tier):
    with tier.start("import time; time.sleep(60)", limits=LIMITS) as confined:
        assert confined.wait(0) is None
        assert confined.kill() == box.Ended(box.Why.KILLED, None, 9)
        assert confined.kill() == confined.wait() == box.Ended(box.Why.KILLED, None, 9)
    with tier.start("pass", limits=LIMITS) as confined:
        confined.wait(10)
        assert confined.kill() == box.Ended(box.Why.EXITED, 0, None)


def test_the_last_of_both_outputs_is_kept(tier):
    program = "import os\nos.write(1, b'x' * 70000 + b'out')\nos.write(2, b'err')"
    with tier.start(program, limits=LIMITS) as confined:
        confined.wait(10)
        assert confined.stderr_tail() == b"x" * 65530 + b"outerr"


def test_nothing_is_left_open_on_our_side(tier):
    before = sorted(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(3):
        with tier.start("stream.recv()", limits=LIMITS):
            pass
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_the_limits_of_the_kernel_are_on(tier):
    program = """
import resource
names = "AS CPU NOFILE FSIZE CORE NPROC".split()
stream.send(repr({name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names}).encode())
"""
    found = eval(ask(tier, program, limits=replace(LIMITS, cpu_s=7, open_files=50, file_mb=3)))
    expected = {"AS": 256 << 20, "CPU": 7, "NOFILE": 50, "FSIZE": 3 << 20, "CORE": 0}
    if tier.tier != "none":  # where the count is the whole user's
        expected["NPROC"] = 16
    assert {name: found[name] for name in expected} == {name: (value, value) for name, value in expected.items()}


# Tiers


def test_the_settings_of_the_configuration_fit():
    settings = Settings().sandbox
    assert box.open_sandbox(settings).tier == "bubblewrap"
    limits = box.SandboxLimits.from_settings(settings, wall_s=2.5, memory_mb=100_000)
    assert (limits.wall_s, limits.cpu_s, limits.memory_mb) == (2.5, 3, settings.memory_mb)
    assert box.SandboxLimits.from_settings(settings, wall_s=1, memory_mb=100).memory_mb == 100


def test_without_bubblewrap_nothing_runs(monkeypatch):
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Unavailable) as caught:
        box.open_sandbox(SETTINGS)
    assert "apt-get install" in caught.value.fix
    report = {report.tier: report for report in box.probe(SETTINGS)}
    assert not report["bubblewrap"].ok
    assert not report["none"].ok
    assert box.open_sandbox(NONE).tier == "none"


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", Unavailable, "No permissions"),
        (
            "echo 'bwrap: Creating new namespace failed: Resource temporarily unavailable' >&2",
            TemporaryFailure,
            "tempo",
        ),
        ("exit 3", Unavailable, "status 3 without a word"),
        ("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1", Unavailable, "Unknown option"),
    ],
)
def test_a_bwrap_that_fails_is_quoted_with_a_fix(tmp_path, script, error, words):
    directory = Path("/tmp") if os.geteuid() == 0 else tmp_path  # where nobody can execute it
    fake = directory / f"fake-bwrap-{os.getpid()}"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    before = sorted(os.listdir("/proc/self/fd"))
    try:
        with pytest.raises(error) as caught:
            bubblewrap.Bubblewrap(SETTINGS, str(fake)).start("pass", limits=LIMITS)
    finally:
        fake.unlink()
    assert words in str(caught.value)
    assert caught.value.fix
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_without_descriptors_a_start_is_put_off_and_leaves_nothing(confined_tier):
    with confined_tier.start("pass", limits=LIMITS):
        pass
    before, bounds = sorted(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)
    holes = set(range(max(map(int, before)))) - set(map(int, before))
    held = [os.open("/", os.O_PATH) for _ in holes]  # so that the limit says how many there are left
    before, refused = sorted(os.listdir("/proc/self/fd")), []
    try:
        while True:
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + len(refused), bounds[1]))
            try:
                confined_tier.start("pass", limits=LIMITS).__exit__()
                break
            except TemporaryFailure as error:
                refused.append(error.message)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, bounds)
            assert sorted(os.listdir("/proc/self/fd")) == before
    finally:
        for fd in held:
            os.close(fd)
    assert len(refused) > 5
    assert {message for message in refused if "Too many open files" not in message} == set()


def test_the_probe_really_starts_the_tiers():
    reports = {report.tier: report for report in box.probe(SETTINGS)}
    assert reports["bubblewrap"].ok, reports
    assert {report.tier: report.ok for report in box.probe(NONE)}["none"]


def test_the_probe_calls_a_tier_that_does_not_confine_broken(monkeypatch):
    from repairlab.sandbox import tiers

    monkeypatch.setattr(tiers.bubblewrap, "Bubblewrap", lambda *_: box.open_sandbox(NONE))
    report = {report.tier: report for report in tiers.probe(SETTINGS)}["bubblewrap"]
    assert not report.ok
    assert "of the host can be seen" in report.why


STARTER = """
import sys
from types import SimpleNamespace
from repairlab import sandbox
tier = sandbox.open_sandbox(SimpleNamespace(**eval(sys.argv[1])))
print("ready", flush=True)
while True:
    tier.start("import time; time.sleep(60)").kill()
"""


def test_a_program_killed_while_it_starts_sandboxes_leaves_none_of_them(confined_tier):
    """The guard of every test looks for what stays."""
    for after in range(12):
        argv = [sys.executable, "-c", STARTER, repr({**vars(SETTINGS), "tier": confined_tier.tier})]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as starter:
            starter.stdout.readline()
            time.sleep(after * 0.003)
            starter.kill()


@pytest.mark.root
def test_an_unprivileged_user_has_the_same_sandbox(project):
    if not os.path.exists("/usr/bin/python3") or not os.stat("/usr/bin/python3").st_mode & 0o001:
        pytest.skip("no system interpreter")
    program = f"""
import sys
sys.path.insert(0, {str(project / "src")!r})
from types import SimpleNamespace
from repairlab import sandbox as box
tier = box.open_sandbox(SimpleNamespace(**{vars(SETTINGS)!r}))
many = '''
import os, time
try: made = len(open("/proc/1/environ").read())
except PermissionError: made = 0  # landlock: what is outside cannot be looked into
try:
    while True:
        if os.fork() == 0: time.sleep(60)
        made += 1
except OSError: stream.send(b"%d" % made)
time.sleep(60)
'''
with tier.start(many, limits=box.SandboxLimits(processes=16)) as confined:
    print(confined.stream.recv(10).decode(), len(confined._keeper._members.statuses()))
"""
    command = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--",
        "/usr/bin/python3",
        "-P",
        "-c",
    ]
    done = subprocess.run([*command, program], capture_output=True, text=True, cwd="/", env={"KEY": "secret"})
    if "Permission denied" in done.stderr or "No module named 'repairlab'" in done.stderr:
        pytest.skip("a stranger cannot read the sources here")
    assert done.stdout == "14 16\n", done.stderr  # PID 1 without an environment, the program, and 14 of its making


def test_the_watch_costs_little(confined_tier):
    with confined_tier.start("import time; time.sleep(60)", limits=LIMITS) as confined:
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        assert confined.wait(1.0) is None
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        assert used < 0.05 * (time.monotonic() - started)
