"""process: workers start warm, end with their group, and are never confused with a stranger."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from repairlab.errors import TemporaryFailure
from repairlab.process import Exited, Lost, Started, Zygote, boot_id, run
from repairlab.process.client import wait_for

WORKERS = """
import os, signal, subprocess, sys, time
from repairlab.errors import BadInput

def say(argv):
    print(sys.argv[0], *argv, os.getcwd(), sorted(os.environ))
    print("loud", file=sys.stderr)
    return 3

def bad(argv):
    raise BadInput("no", field="x", fix="y")

def bug(argv):
    raise ZeroDivisionError

def leave(argv):
    sys.exit("words")

def properties(argv):
    status = open("/proc/self/status").read()
    masks = [line for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "Umask"))]
    descriptors = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1]
    score = int(open("/proc/self/oom_score_adj").read())
    print([os.getsid(0) == os.getpid(), descriptors, os.read(0, 1), score])
    print(masks)

def wait(argv):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    os.write(1, b"waiting")
    while True:
        signal.pause()

def family(argv):
    for _ in range(2):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(1, b"%d\\n" % os.getpid())
            time.sleep(60)
    time.sleep(0 if argv else 60)
    return 0

def daemon(argv):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(1, b"%d\\n" % os.getpid())
            os.write(writer, b"x")
            time.sleep(60)
        os._exit(0)
    os.wait()
    os.read(reader, 1)
    return 0

def nested(argv):
    reader, writer = os.pipe()
    if os.fork() == 0:
        if argv:
            os.setsid()
        if os.fork() == 0:
            os.write(1, b"%d\\n" % os.getpid())
            os.write(writer, b"x")
        time.sleep(60)
    os.read(reader, 1)
    return 0

def parent(argv):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.write(1, b"ready")
        time.sleep(60)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) + 100

def limits(argv):
    import resource
    print(resource.getrlimit(resource.RLIMIT_NOFILE))

def burn(argv):
    held = bytearray(b"1") * (50 << 20)
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
"""


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    path = tmp_path_factory.mktemp("workers")
    (path / "zygote_workers.py").write_text(WORKERS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(path)
    with Zygote(preload=["zygote_workers"]) as running:
        yield running
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass


def finish(zygote, token):
    """Return how a worker ended."""
    event = wait_for(zygote, token, 10)
    assert event is not None
    return event


def printed(reader):
    return os.read(reader, 1 << 16).decode()


def gone(pid, timeout=5.0):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready = select.select([handle], [], [], timeout)[0]
    os.close(handle)
    return bool(ready)


def test_a_worker_runs_its_function_and_its_words_go_where_they_should(zygote, pipe, tmp_path):
    token = zygote.start(
        "zygote_workers:say", ["a", "b"], name="agent", stdout=pipe[1], stderr=pipe[1], cwd=tmp_path, env={"ONLY": "1"}
    )
    ended = finish(zygote, token)
    assert isinstance(ended, Exited)
    assert (ended.token, ended.status) == (token, 3)
    assert sorted(printed(pipe[0]).splitlines()) == [f"agent a b {tmp_path} ['ONLY']", "loud"]


@pytest.mark.parametrize(("worker", "status"), [("bad", 65), ("bug", 70), ("leave", 1), ("nothing", 71)])
def test_every_way_to_fail_has_its_status(zygote, pipe, worker, status):
    token = zygote.start(f"zygote_workers:{worker}", stdout=pipe[1], stderr=pipe[1])
    assert finish(zygote, token).status == status


def test_a_command_is_executed(zygote, pipe):
    token = zygote.start(command=["/bin/sh", "-c", "echo $0 $A; kill -9 $$", "me"], stdout=pipe[1], env={"A": "1"})
    assert finish(zygote, token).status == -signal.SIGKILL
    assert printed(pipe[0]) == "me 1\n"


def test_a_command_that_is_not_there_is_127(zygote, pipe):
    token = zygote.start(command=["/nonexistent/agent"], stderr=pipe[1])
    assert finish(zygote, token).status == 127
    assert "No such file" in printed(pipe[0])


def test_a_worker_has_a_session_no_stdin_no_foreign_descriptors_and_clean_signals(zygote, pipe):
    finish(zygote, zygote.start("zygote_workers:properties", stdout=pipe[1]))
    first, masks = printed(pipe[0]).splitlines()
    assert first == "[True, [0, 1, 2], b'', 500]"
    # As in every Python: SIGPIPE and SIGXFSZ are ignored, and so become exceptions.
    assert masks == "['Umask:\\t0077', 'SigBlk:\\t0000000000000000', 'SigIgn:\\t0000000001001000']"
    finish(zygote, zygote.start(command=["/bin/grep", "SigIgn", "/proc/self/status"], stdout=pipe[1]))
    assert printed(pipe[0]) == "SigIgn:\t0000000000000000\n"


def test_a_lock_lives_as_long_as_the_worker_that_it_was_given_to(zygote, pipe, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    token = zygote.start("zygote_workers:wait", stdout=pipe[1], fds=[fd])
    assert printed(pipe[0]) == "waiting"
    os.close(fd)
    probe = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    zygote.kill(token)
    assert finish(zygote, token).status == 7
    fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the zygote kept none of it
    os.close(probe)


def test_a_lock_also_lives_across_an_exec(zygote, pipe, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    token = zygote.start(command=["/bin/sh", "-c", "echo; exec sleep 60"], stdout=pipe[1], fds=[fd])
    printed(pipe[0])
    os.close(fd)
    probe = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    zygote.kill(token, signal.SIGKILL)
    finish(zygote, token)
    os.close(probe)


def test_a_kill_reaches_the_whole_group(zygote, pipe):
    token = zygote.start("zygote_workers:family", stdout=pipe[1])
    pids = [int(printed(pipe[0]).split()[0]) for _ in range(1)]
    zygote.kill(token, signal.SIGKILL)
    assert finish(zygote, token).status == -signal.SIGKILL
    assert all(gone(pid) for pid in pids)


def test_what_a_worker_leaves_in_its_group_ends_with_it(zygote, pipe):
    token = zygote.start("zygote_workers:family", ["at once"], stdout=pipe[1])
    assert finish(zygote, token).status == 0
    os.close(pipe[1])
    pids = []
    while text := printed(pipe[0]):  # the end of the file: nobody holds the other end
        pids += text.split()
    assert all(gone(int(pid)) for pid in pids)


def test_a_daemon_that_left_the_group_ends_with_the_worker(zygote, pipe):
    token = zygote.start("zygote_workers:daemon", stdout=pipe[1])
    assert finish(zygote, token).status == 0
    assert gone(int(printed(pipe[0])))


@pytest.mark.parametrize("argv", [[], ["daemon"]], ids=["in the group", "in a session of its own"])
def test_the_children_of_what_is_left_end_too(zygote, pipe, argv):
    token = zygote.start("zygote_workers:nested", argv, stdout=pipe[1])
    assert finish(zygote, token).status == 0
    assert gone(int(printed(pipe[0])))


def test_a_signal_reaches_every_member_of_the_group(zygote, pipe):
    token = zygote.start("zygote_workers:parent", stdout=pipe[1])
    assert printed(pipe[0]) == "ready"
    zygote.kill(token)
    assert finish(zygote, token).status == 100 - signal.SIGTERM


def test_a_signal_to_a_worker_that_has_ended_reaches_nobody(zygote):
    token = zygote.start(command=["/bin/true"])
    assert finish(zygote, token).status == 0
    zygote.kill(token, signal.SIGKILL)
    assert zygote.running() == []
    assert finish(zygote, zygote.start(command=["/bin/true"])).status == 0


def test_a_kill_sent_right_behind_the_start_is_not_lost(zygote):
    tokens = [zygote.start(command=["/bin/sleep", "60"]) for _ in range(20)]
    for token in tokens:
        zygote.kill(token)
    statuses = {}
    deadline = time.monotonic() + 10
    while len(statuses) < 20 and select.select([zygote], [], [], max(0.0, deadline - time.monotonic()))[0]:
        statuses.update({event.token: event.status for event in zygote.events() if isinstance(event, Exited)})
    assert statuses == dict.fromkeys(tokens, -signal.SIGTERM)


def test_limits_bind_and_usage_is_told(zygote, pipe):
    finish(zygote, zygote.start("zygote_workers:limits", stdout=pipe[1], rlimits={"RLIMIT_NOFILE": (33, 34)}))
    assert printed(pipe[0]) == "(33, 34)\n"
    ended = finish(zygote, zygote.start("zygote_workers:burn"))
    assert 0.1 <= ended.cpu_s < 5
    assert ended.max_rss > 50 << 20
    assert ended.wall_s >= 0.1


def test_started_comes_before_exited_and_names_the_leader(zygote):
    token = zygote.start(command=["/bin/true"])
    events = []
    while not any(isinstance(event, Exited) for event in events):
        select.select([zygote], [], [], 5)
        events += zygote.events()
    assert [type(event) for event in events] == [Started, Exited]
    assert events[0].pid == events[1].pid
    assert {event.token for event in events} == {token}


def test_a_start_is_either_an_entry_or_a_command(zygote):
    with pytest.raises(ValueError, match="not both"):
        zygote.start("a:b", command=["c"])


def test_a_dead_zygote_takes_its_workers_along_and_can_be_replaced():
    with Zygote() as zygote:
        token = zygote.start(command=["/bin/sleep", "60"])
        while not (told := zygote.events()):  # a worker may run, and print, before its start is told
            select.select([zygote], [], [], 10)
        [started] = told
        os.kill(zygote.pid, signal.SIGKILL)
        assert finish(zygote, token) == Lost(token, started.pid)
        assert gone(started.pid)
        assert not zygote.alive
        assert zygote.events() == []
        with pytest.raises(TemporaryFailure):
            zygote.start(command=["/bin/true"])
        zygote.kill(token)
        zygote.restart()
        assert finish(zygote, zygote.start(command=["/bin/true"])).status == 0


def test_closing_ends_every_worker_and_its_group(pipe):
    with Zygote() as zygote:
        zygote.start(command=["/bin/sh", "-c", "sleep 60 & trap '' TERM; echo; wait; sleep 60"], stdout=pipe[1])
        printed(pipe[0])
        os.close(pipe[1])
    assert printed(pipe[0]) == ""  # the end of the file: nothing is left that could write


def test_a_preload_that_fails_is_a_dead_zygote():
    with Zygote(preload=["no_such_module"]) as zygote:
        select.select([zygote], [], [], 10)
        assert zygote.events() == []
        assert not zygote.alive


def test_workers_end_when_the_process_that_owns_the_zygote_is_killed(pipe):
    owner = """
        import select, sys
        from repairlab.process import Zygote, Started
        zygote = Zygote()
        zygote.start(command=["/bin/sleep", "60"])
        select.select([zygote], [], [])
        while not (found := [event for event in zygote.events() if isinstance(event, Started)]):
            select.select([zygote], [], [])
        print(zygote.pid, found[0].pid, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(owner)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert all(gone(pid) for pid in pids)


def test_a_run_returns_both_streams_and_the_status():
    done = run(["/bin/sh", "-c", "echo out; echo err >&2; exit 4"], timeout=10)
    assert (done.code, done.out, done.err, done.timed_out) == (4, b"out\n", b"err\n", False)


def test_a_run_is_killed_with_its_group_when_its_time_is_over():
    started = time.monotonic()
    done = run(["/bin/sh", "-c", "sleep 60 & echo $!; sleep 60"], timeout=0.2)
    assert done.timed_out
    assert done.code == -signal.SIGKILL
    assert time.monotonic() - started < 5
    assert gone(int(done.out))


def test_a_run_does_not_wait_for_a_daemon_that_keeps_its_output_open():
    started = time.monotonic()
    done = run(["/bin/sh", "-c", "sleep 60 & echo done"], timeout=30)
    assert (done.code, done.out, done.timed_out) == (0, b"done\n", False)
    assert time.monotonic() - started < 5


def test_a_run_keeps_only_as_much_output_as_was_asked_for():
    done = run(["/bin/sh", "-c", "head -c 1000000 /dev/zero"], timeout=10, max_output=1000)
    assert (done.code, len(done.out)) == (0, 1000)


def test_the_boot_has_one_identity():
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
