"""Real watchers in worlds that nobody would set up on purpose: no events, stepped clocks, two versions, hostile drops.

Each world is of the test alone: limits and clocks of a namespace or a preloaded library, never of the machine.
"""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import disk
import flood
import invariants
import pytest
import room
import torture

from repairlab.spool import State

PROJECT = room.PROJECT
CORPUS = PROJECT / "tests" / "documents"
DAY_S = 86_400
WATCHDOG_S = 30  # as the unit says
SKEW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (id == CLOCK_REALTIME && getenv("SKEW_S")) now->tv_sec += atol(getenv("SKEW_S"));
    return result;
}
"""


@pytest.fixture
def make(tmp_path):
    """Make a room whose agents do what their bundles say; its watchers end with the test."""
    rooms = []

    def make(**settings: str) -> room.Room:
        state = tmp_path / f"state-{len(rooms)}"
        rooms.append(room.Room(state, room.peer("by_bundle", log=state / "runs.log"), **settings))
        return rooms[-1]

    yield make
    for made in rooms:
        made.__exit__()


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


# --- notifications ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_inotify_instances 0", "max_inotify_watches 1"])
def test_where_the_user_has_no_inotify_instance_or_watch_left_the_rescan_finds_what_is_dropped(make, limit):
    needs_root()
    here = make()
    name, most = limit.split()
    limit = f'echo {most} >/proc/sys/user/{name} && exec "$@"'
    here.under = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
    watcher = here.start()
    here.wait(lambda: "only the rescan finds arrivals" in here.said())
    here.wait_state(here.drop(here.behaving("noop")), State.OK, within_s=10)
    assert here.stop(watcher) == 0


def test_an_overflow_of_the_kernels_queue_of_events_hides_no_arrival(make):
    """It stands still while more happens than the kernel keeps events of; the next rescan would be in an hour."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    here = make(QUEUE_RESCAN_S="3600")
    watcher = here.start()
    here.wait_state(here.drop(here.behaving("noop")), State.OK)
    watcher.send_signal(signal.SIGSTOP)
    one, two = here.queue.path / "one.part", here.queue.path / "two.part"
    one.touch()
    for _ in range(most // 2 + 1000):  # two arrivals each; the kernel takes equal neighbours for one
        one.rename(two)
        two.rename(one)
    hidden = [here.drop(here.behaving("noop", number)) for number in range(1, 6)]
    watcher.send_signal(signal.SIGCONT)
    for job_id in hidden:
        here.wait_state(job_id, State.OK, within_s=20)
    assert "overflow" in here.said(), "else this test shows nothing"
    assert here.stop(watcher) == 0


# --- file systems ----------------------------------------------------------------------------------------------------


def world(name: str, place: Path) -> dict:
    """What came of worlds.py."""
    if reason := disk.impossible():
        pytest.skip(reason)
    command = [sys.executable, str(Path(__file__).with_name("worlds.py")), name, str(place)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("full", ["full", "inodes"])
def test_without_room_or_inodes_nothing_is_lost_counted_or_left_and_with_them_it_goes_on(tmp_path, full):
    told = world(full, tmp_path / "top")
    assert "disk is full" in told["refused"], "a producer is told why, and that nothing was lost"
    assert "disk is full" in told["said"]
    assert (told["status"], told["fsck"], told["left"]) == (0, [], [])
    assert told["ids"]
    assert set(told["ended"]) == {1}
    assert told["ok"] == told["challengers"] == len(told["ended"]) - 1
    assert [events.count("failed") for events in told["hard_fail"]] == [3]
    assert told["waiting"] > 1, "else nothing was ever too full to be claimed"


@pytest.mark.timeout(120)
def test_over_an_overlay_the_rescan_finds_what_lies_beneath_and_what_cannot_be_moved_is_told_once(tmp_path):
    """Directories of a lower layer cannot be renamed: a job that was parked when the image was made stays there."""
    told = world("overlay", tmp_path / "top")
    assert (told["status"], told["fsck"], told["beneath"], told["ended"]) == (0, [], 1, [1, 1])
    assert told["said"].count("cannot be moved") == 1
    assert told["parked"] == "deferred"


@pytest.mark.timeout(120)
def test_while_the_file_system_is_read_only_a_watcher_waits_and_says_why_and_then_goes_on(tmp_path):
    told = world("readonly", tmp_path / "top")
    assert "the file system is read-only" in told["refused"]
    assert "claiming pauses: " in told["said"]
    assert "claiming goes on" in told["said"]
    assert told["during"] < told["jobs"], "else it came too late"
    assert (told["alive"], told["status"], told["findings"]) == (True, 0, [])


@pytest.mark.timeout(120)
def test_a_disk_whose_flushes_take_a_tenth_of_a_second_gets_no_watcher_killed_by_the_service_manager(tmp_path):
    told = world("slow", tmp_path / "top")
    assert told["flushes"] > 30, "else nothing was slow"
    assert (told["status"], told["findings"]) == (0, [])
    assert told["fed"] > 2
    assert told["gap_s"] < WATCHDOG_S / 2


@pytest.mark.timeout(120)
def test_behind_another_hosts_file_system_nothing_is_lost_and_what_comes_without_an_event_is_found(tmp_path):
    """Seen through FUSE: no event of what others do, no RENAME_NOREPLACE. NFS is that too, but is in few kernels."""
    if shutil.which("bindfs") is None:
        pytest.skip("needs bindfs (Debian: bindfs)")
    told = world("elsewhere", tmp_path / "top")
    assert (told["status"], told["findings"]) == (0, [])
    assert told["kills"] >= 3


def test_a_world_that_is_killed_leaves_no_process_and_so_no_mount_behind(tmp_path):
    if reason := disk.impossible() or (None if shutil.which("bindfs") else "needs bindfs (Debian: bindfs)"):
        pytest.skip(reason)
    top = tmp_path / "top"
    running = subprocess.Popen([sys.executable, str(Path(__file__).with_name("worlds.py")), "elsewhere", str(top)])
    try:
        there = awaited(lambda: [told for told in machine_of(tmp_path) if "repairlab-queue-watcher" in told])
    finally:
        running.kill()
        running.wait()
    assert there
    awaited(lambda: machine_of(tmp_path) == [])


def machine_of(root: Path) -> list[str]:
    """The command lines of whoever works below the directory."""
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
    there = [pid for pid in pids if invariants._works_in(pid, str(root))]
    return [invariants._read(f"/proc/{pid}/cmdline").decode(errors="replace") for pid in there]


def awaited(until: Callable[[], Any], within_s: float = 30) -> Any:
    end = time.monotonic() + within_s
    while not (value := until()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def test_without_a_descriptor_left_a_watcher_waits_and_counts_nothing_and_with_them_it_goes_on(make):
    here = make()
    watcher = here.start()
    here.wait_state(here.drop(here.behaving("noop")), State.OK)
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in descendants(watcher.pid)}
    for pid, (_, hard) in before.items():
        used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
        lowest = next(number for number in range(1 << 20) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))
    jobs = [here.drop(here.behaving("noop", number)) for number in range(1, 6)]
    here.wait(lambda: "no file descriptor left" in here.said())
    for pid, limits in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    for job_id in jobs:
        here.wait_state(job_id, State.OK)
        assert set(here.events(job_id)) & {"failed", "crashed", "orphaned"} == set()
    assert here.queue.fsck() == []
    assert here.stop(watcher) == 0, "it is the one that met the limit"


def descendants(pid: int) -> list[int]:
    """The process and all below it."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in below for each in descendants(int(child)))]


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def skew(tmp_path):
    """A library that moves the wall clock of the programs it is preloaded into."""
    library = tmp_path / "skew.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, "-xc", "-", "-ldl"], input=SKEW, text=True, check=True)
    return library


def test_a_wall_clock_that_jumps_back_and_forth_forgives_no_failure_and_delays_nothing(make, skew):
    here = make()
    hopeless, honest = here.drop(here.behaving("hopeless")), here.drop(here.behaving("noop"))
    for number, seconds in enumerate((0, -DAY_S, DAY_S, -DAY_S)):
        watcher = here.start(LD_PRELOAD=str(skew), SKEW_S=str(seconds))
        here.wait(lambda least=number + 1: here.events(hopeless).count("failed") >= min(least, 3), within_s=20)
        here.stop(watcher)
    assert here.wait_state(hopeless, State.HARD_FAIL).attempts()[-1]["event"] == "failed"
    assert here.events(hopeless).count("failed") == 3
    assert here.job(honest).state is State.OK
    days = {event["at"][:10] for event in here.job(hopeless).attempts()}
    assert len(days) > 1, "the clock that the programs saw did jump"


def test_the_time_of_a_suspend_counts_into_a_pause(make):
    needs_root()
    here = make(QUEUE_BACKOFF_BASE_S="5000", QUEUE_BACKOFF_CAP_S="5000")
    job_id = here.drop(here.behaving("hopeless"))
    first = here.start()
    here.wait(lambda: here.jobs(State.DEFERRED) and here.events(job_id).count("failed") == 1)
    assert here.stop(first) == 0
    here.once()
    if here.events(job_id).count("failed") > 1:
        return  # one time in thousands the pause is drawn to be next to none
    here.under = ["unshare", "--time", "--boottime", "6000", "--fork", "--kill-child"]  # asleep for 100 minutes
    here.once()
    assert here.events(job_id).count("failed") == 2


# --- two versions ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """The watcher of the last release, or else of a hundred commits ago."""
    git = ["git", "-C", str(PROJECT)]
    told = subprocess.run([*git, "rev-list", "--count", "--first-parent", "HEAD"], capture_output=True, text=True)
    if told.returncode != 0 or int(told.stdout) < 200:
        pytest.skip("needs the history of the repository")
    tag = subprocess.run([*git, "describe", "--tags", "--abbrev=0"], capture_output=True, text=True)
    revision = tag.stdout.strip() or "HEAD~100"
    place = tmp_path_factory.mktemp("older")
    archive = subprocess.run([*git, "archive", revision, "src", "bin"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", place], input=archive.stdout, check=True)
    return place / "bin" / "repairlab-queue-watcher"


@pytest.mark.timeout(120)
def test_two_versions_serve_one_spool_and_are_killed_in_turn(make, older):
    here = make()
    kinds = torture.dropped(here, 40)
    for number in range(10):  # what a later producer may say besides
        kinds[here.drop(here.behaving("noop", 100 + number), later={"field": [number]}, ts=1.5)] = "noop"
    for kills in range(6):
        here.program = (older, room.WATCHER)[kills % 2]
        ended = len(here.ended())
        watcher = here.start()
        here.wait(lambda before=ended: len(here.ended()) > before or len(here.ended()) == len(kinds))
        watcher.kill()
        watcher.wait()
    for program in (older, room.WATCHER):
        here.program = program
        here.start()
    torture.served(here, kinds, 60)
    assert torture.findings(here, kinds) == []


# --- hostile producers -----------------------------------------------------------------------------------------------


def hostile(queue: Path, outside: Path) -> int:
    """Drop whatever a directory can hold under names that the queue takes; return how many."""
    names = iter(range(1 << 20))

    def name(extra: bytes = b"") -> bytes:
        return os.fsencode(queue) + b"/handoff-bad-%d%s.json" % (next(names), extra)

    for path in sorted(CORPUS.rglob("*")):
        if path.is_file() and "accepted" not in path.parts:
            Path(os.fsdecode(name())).write_bytes(path.read_bytes())
    for target in (outside, queue, "/etc/passwd", "/nonexistent", "/dev/zero", "/proc/self/environ"):
        os.symlink(target, name())
    os.mkfifo(name())
    if os.geteuid() == 0:
        os.mknod(name(), 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero: endless
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(queue, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/{os.fsdecode(os.path.basename(name()))}")  # a short path to it
        os.close(directory)
    deep = Path(os.fsdecode(name()))
    deep.joinpath(*["d"] * 60).mkdir(parents=True)
    with open(name(), "wb") as huge:
        huge.truncate(1 << 40)
    for extra in (b"\n", b"\xff\xfe", b" \t", "é".encode(), b"\x1b[2J", b"'\";$(id)", b"x" * 200):
        Path(os.fsdecode(name(extra))).write_bytes(b'{"bundle_dir": "/nonexistent"}')
    closed = Path(os.fsdecode(name()))
    closed.write_bytes(b"{}")
    closed.chmod(0)
    return next(names)


@pytest.mark.timeout(120)
def test_a_hostile_producer_stops_nobody_and_all_that_it_dropped_is_kept_and_ended(make, tmp_path):
    here = make()
    outside = tmp_path / "outside"
    outside.write_text("not yours")
    first = here.start()
    dropped = hostile(here.queue.path, outside)
    honest = [here.drop(here.behaving("noop", number)) for number in range(3)]
    for job_id in honest:
        here.wait_state(job_id, State.OK, within_s=30)
    here.wait(lambda: not here.jobs(State.WAITING, State.ACTIVE, State.DEFERRED), within_s=60)
    assert first.poll() is None, "the watcher that met all of it is still the same"
    rejected = here.jobs(State.REJECTED)
    kept = len(rejected) + sum(len(list(Path(job.path, "duplicates").glob("*"))) for job in rejected.values())
    assert kept == dropped
    assert all(job.reason() for job in rejected.values())
    assert outside.read_text() == "not yours"
    assert here.queue.fsck() == []
    assert len(here.runs()) == len(honest), "no agent was started for any of it"
    assert here.stop(first) == 0


# --- a flood ---------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_a_flood_of_one_producer_neither_delays_the_few_jobs_of_another_nor_fills_the_watcher_nor_loses_any():
    """More than the window of a watcher holds waits before each of them, urgent as it says."""
    told = flood.flooded(20_000, 3)
    assert told.wrong == []
    assert len(told.behind) == 3
    assert max(told.behind) < 50
    assert told.grown_mb < 32
