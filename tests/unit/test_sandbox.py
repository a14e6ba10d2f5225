"""sandbox: one interface, its stream, its limits, and who may choose the interpreter."""

import os
import resource
import socket
import struct
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repairlab import sandbox as box
from repairlab.config import Settings
from repairlab.errors import BadInput, TemporaryFailure, Unavailable
from repairlab.sandbox import bubblewrap, inside, interpreter, seccomp

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


def test_the_probe_really_starts_the_tiers():
    reports = {report.tier: report for report in box.probe(SETTINGS)}
    assert reports["bubblewrap"].ok, reports
    assert {report.tier: report.ok for report in box.probe(NONE)}["none"]


def test_the_probe_calls_a_tier_that_does_not_confine_broken(monkeypatch):
    from repairlab.sandbox import tiers

    monkeypatch.setattr(tiers.bubblewrap, "Bubblewrap", lambda *_: box.open_sandbox(NONE))
    report = tiers.probe(SETTINGS)[0]
    assert not report.ok
    assert "host's files can be seen" in report.why


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
made = len(open("/proc/1/environ").read())
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


# The interpreter


def virtual_environment(path, home):
    for name in ("bin", "lib/python3/site-packages", "secrets"):
        (path / name).mkdir(parents=True)
    (path / "pyvenv.cfg").write_text(f"version = 3\nhome = {home}\n")
    (path / "bin/python").symlink_to(Path(home) / "python3")
    return str(path / "bin/python")


def test_of_an_installation_only_what_an_interpreter_reads_is_shown(tmp_path):
    python = virtual_environment(tmp_path / "venv", "/usr/bin")
    shown = [mount.path for mount in interpreter.mounts(python, allowed=[str(tmp_path)])]
    assert shown == [f"{tmp_path}/venv/{name}" for name in ("bin", "lib", "pyvenv.cfg")]


def test_a_virtual_environment_of_a_person_works(tmp_path, confined_tier):
    python = virtual_environment(tmp_path / "venv", "/usr/bin")
    settings = SimpleNamespace(**vars(SETTINGS), interpreters=[str(tmp_path)])
    answer = ask(box.open_sandbox(settings), "import sys\nstream.send(sys.prefix.encode())", python=python)
    assert answer == f"{tmp_path}/venv"


@pytest.mark.parametrize("kind", ["not allowed", "home outside", "link outside", "relative", "missing", "circle"])
def test_an_interpreter_that_is_none_of_the_operators_is_refused(tmp_path, kind, confined_tier):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (tmp_path / "queue/bin").mkdir(parents=True)
    (tmp_path / "queue/bin/python").write_text("#!/bin/sh\n")
    (tmp_path / "queue/bin/python").chmod(0o755)
    python = {
        "not allowed": str(tmp_path / "queue/bin/python"),
        "relative": "python3",
        "missing": str(allowed / "bin/python"),
    }.get(kind, str(allowed / "venv/bin/python"))
    if kind == "home outside":  # would show the whole of the queue as read-only
        virtual_environment(allowed / "venv", str(tmp_path / "queue/bin"))
        (allowed / "venv/bin/python").unlink()
        (allowed / "venv/bin/python").symlink_to("/usr/bin/python3")
    elif kind == "link outside":
        virtual_environment(allowed / "venv", "/usr/bin")
        (allowed / "venv/bin/python").unlink()
        (allowed / "venv/bin/python").symlink_to(tmp_path / "queue/bin/python")
    elif kind == "circle":
        virtual_environment(allowed / "venv", "/usr/bin")
        (allowed / "venv/bin/python").unlink()
        (allowed / "venv/bin/python").symlink_to("python")
    settings = SimpleNamespace(**vars(SETTINGS), interpreters=[str(allowed)])
    with pytest.raises(BadInput) as caught:
        box.open_sandbox(settings).start("pass", python=python)
    assert caught.value.field == "python"


def test_the_work_directory_is_empty_also_where_the_interpreter_lies_below_it():
    mounts = [interpreter.Mount("/work/venv/bin"), interpreter.Mount("/usr")]
    assert bubblewrap._work(mounts) != "/work"
    assert bubblewrap._work(mounts[1:]) == "/work"


@pytest.mark.root
def test_what_nobody_can_reach_is_staged(tmp_path):
    hidden = tmp_path / "closed/bin"
    hidden.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    prefix, sources = bubblewrap._as_nobody([interpreter.Mount(str(hidden)), interpreter.Mount("/usr")])
    assert prefix[0].endswith("unshare")
    assert list(sources) == [str(hidden)]
    prefix, sources = bubblewrap._as_nobody([interpreter.Mount("/usr")])
    assert prefix[0].endswith("setpriv")
    assert sources == {}


# The stream


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    stream = box.Stream(ours)
    with theirs:
        yield stream, theirs
    stream.close()


def test_a_frame_in_pieces_survives_a_timeout(pair):
    stream, theirs = pair
    frame = struct.pack(">I", 6) + b"abcdef"
    for byte in frame[:-1]:
        theirs.send(bytes([byte]))
        with pytest.raises(box.StreamTimeout):
            stream.recv(0)
    theirs.send(frame[-1:] + frame)
    assert stream.recv(0) == b"abcdef"
    assert stream.recv(0) == b"abcdef"


def test_an_announcement_beyond_the_bound_is_refused_before_anything_is_held(pair):
    stream, theirs = pair
    theirs.send(struct.pack(">I", 101))
    with pytest.raises(box.FrameTooLarge):
        stream.recv(1, max_bytes=100)


def test_a_closed_stream_is_told_from_a_silent_one(pair):
    stream, theirs = pair
    with pytest.raises(box.StreamTimeout):
        stream.recv(0)
    theirs.send(struct.pack(">I", 6) + b"abc")
    theirs.close()
    with pytest.raises(box.StreamClosed):
        stream.recv(1)
    with pytest.raises(box.StreamClosed):
        stream.send(b"x" * (1 << 20))


def test_a_send_to_somebody_who_does_not_read_ends(pair):
    stream, _ = pair
    with pytest.raises(box.StreamTimeout):
        stream.send(b"x" * (1 << 22), timeout=0.05)


def test_frames_too_large_to_send_are_a_bug_of_the_caller(pair):
    with pytest.raises(ValueError, match="send_files"):
        pair[0].send(bytes(inside.MAX_FRAME + 1))


SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5).filter(
    lambda name: name not in (".", "..")
)
ENTRIES = st.lists(
    st.tuples(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), st.sampled_from("fxl"), st.binary(max_size=20))
)


@given(ENTRIES)
def test_packed_entries_come_out_as_they_went_in(entries):
    frames = list(inside.pack(entries))
    assert frames[-1] == b""
    assert all(frames[:-1])
    assert [entry for frame in frames for entry in inside.unpack(frame)] == entries


@given(st.binary(max_size=60))
def test_any_bytes_are_files_or_refused(raw):
    try:
        for path, _, _ in inside.unpack(raw):
            assert not os.path.isabs(path)
            assert ".." not in path.split("/")
    except inside.FrameError:
        pass


def test_the_inside_runs_on_an_old_interpreter():
    compile(Path(inside.__file__).read_text(), "inside", "exec", dont_inherit=True)
    import ast

    ast.parse(Path(inside.__file__).read_text(), feature_version=(3, 8))
    ast.parse(inside.LOADER, feature_version=(3, 8))


# The filter of system calls


def interpret(program, number, argument=0, audit=0xC000003E):
    """Run a filter as the kernel does."""
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data = struct.pack("=IIQ", number, audit, 0) + struct.pack("=Q", argument) + bytes(40)
    at = value = 0
    while True:
        code, then, otherwise, k = steps[at]
        if code == seccomp.RETURN:
            return k
        if code == seccomp.LOAD:
            (value,) = struct.unpack_from("=I", data, k)
            at += 1
            continue
        tests = {
            seccomp.JUMP_EQUAL: value == k,
            seccomp.JUMP_AT_LEAST: value >= k,
            seccomp.JUMP_BITS: bool(value & k),
        }
        at += 1 + (then if tests[code] else otherwise)


@pytest.mark.parametrize(("machine", "column", "audit"), [("x86_64", 0, 0xC000003E), ("aarch64", 1, 0xC00000B7)])
def test_the_filter_decides_as_its_table_says(machine, column, audit):
    program = seccomp.program(machine)
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
    denied = {numbers[column] for numbers in (*seccomp.DENIED.values(), *seccomp.AS_IF_OLDER.values())}
    denied |= set(seccomp.X86_ONLY.values()) if column == 0 else set()
    assert len(denied) == len(seccomp.DENIED) + len(seccomp.AS_IF_OLDER) + (len(seccomp.X86_ONLY) if column == 0 else 0)
    clone, connect = seccomp.CLONE[column], seccomp.SOCKET[column]
    for number in range(500):
        verdict = interpret(program, number, audit=audit)
        if number in denied:
            assert verdict & ~0xFFFF == seccomp.ERRNO, number
        elif number != connect:
            assert verdict == seccomp.ALLOW, number
    assert interpret(program, clone, 0x3D0F00, audit) == seccomp.ALLOW  # a thread
    assert interpret(program, clone, 17, audit) == seccomp.ALLOW  # a fork
    assert interpret(program, clone, 0x10000000 | 17, audit) & ~0xFFFF == seccomp.ERRNO
    for family in range(50):
        allowed = interpret(program, connect, family, audit) == seccomp.ALLOW
        assert allowed == (family in seccomp.FAMILIES)
    assert interpret(program, 0, audit=0x40000003) == seccomp.KILL  # a 32-bit call
    assert seccomp.program("vax") == b""


def test_the_watch_costs_little(confined_tier):
    with confined_tier.start("import time; time.sleep(60)", limits=LIMITS) as confined:
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        assert confined.wait(1.0) is None
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        assert used < 0.05 * (time.monotonic() - started)
