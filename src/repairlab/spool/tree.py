"""tree: the directories of one queue, the names in them, and where a job is.

    <queue>/PATTERN                        arrivals
    <queue>/tmp/                           staging of publishers; trash on its way out
    <queue>/active/ID/                     claimed, or being moved: the gate of the id
    <queue>/deferred/ID/  hold/ID/         parked
    <queue>/processed/STATE/YYYY-MM-DD/ID/ ended, by the UTC day of its end
    <queue>/fingerprints/                  failure windows

active/ID is the gate: a job changes state only through it, under a lock on the job's own directory. Whoever holds a
non-empty active/ID therefore knows that the id cannot appear, vanish or move anywhere else meanwhile (removal of an
old terminal job excepted).
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from repairlab.errors import TemporaryFailure
from repairlab.spool.disk import DIRECTORY, Disk
from repairlab.spool.history import Clock
from repairlab.spool.policy import PARKED, TERMINAL, Policy, State

ID_CHARS = 24
JOB = "job.json"
CLAIM = "claim"
REASON = "reason.json"
WORK = "work"
DUPLICATES = "duplicates"
TMP = "tmp"
FINGERPRINTS = "fingerprints"
PROCESSED = "processed"
ID = re.compile(rf"[0-9a-f]{{{ID_CHARS}}}")
GRANULE_S = 2.0  # coarsest timestamp of a file system that a spool can be on
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Tree:
    """One queue: its directories and what every operation on it needs."""

    path: str
    prefix: str
    suffix: str
    policy: Policy
    disk: Disk
    clock: Clock
    random: Callable[[], float]
    seen_days: dict[State, tuple[int, list[str]]] = field(default_factory=dict)
    seen_waiting: dict[int, tuple[float, int]] = field(default_factory=dict)

    def arrives(self, name: str) -> bool:
        """Tell whether a file of this name is a job."""
        return (
            name.startswith(self.prefix)
            and name.endswith(self.suffix)
            and len(name) >= len(self.prefix) + len(self.suffix)
        )

    def state(self, state: State) -> str:
        """Return the directory of a state."""
        if state is State.WAITING:
            return self.path
        return f"{self.path}/{PROCESSED}/{state}" if state in TERMINAL else f"{self.path}/{state}"

    def at(self, state: State, job_id: str, day: str = "") -> str:
        """Return where a job of this state is; `day` only for terminal ones."""
        return f"{self.state(state)}/{day}/{job_id}" if day else f"{self.state(state)}/{job_id}"

    def directories(self) -> list[str]:
        """Return every directory of the queue, parents first."""
        states = [self.state(state) for state in State]
        return [self.path, f"{self.path}/{TMP}", f"{self.path}/{FINGERPRINTS}", f"{self.path}/{PROCESSED}", *states[1:]]

    def create(self) -> None:
        """Make what is missing; modes follow the umask."""
        os.makedirs(self.path, exist_ok=True)
        for directory in self.directories():
            with suppress(FileExistsError):
                os.mkdir(directory)

    def days(self, state: State) -> list[str]:
        """Return the day buckets of a terminal state, oldest first; read again only when the directory has changed."""
        path = self.state(state)
        mtime_ns = os.stat(path).st_mtime_ns
        known, days = self.seen_days.get(state, (0, []))
        if known != mtime_ns:
            days = sorted(name for name in os.listdir(path) if DAY.fullmatch(name))
            # A bucket made in the same tick of the clock would not move the mtime: only an old one proves anything.
            if self.clock.wall() - mtime_ns / 1e9 > GRANULE_S:
                self.seen_days[state] = (mtime_ns, days)
        return list(days)

    def resting(self, job_id: str) -> Iterator[tuple[State, str]]:
        """Yield every place but active/ where the id is; stable only for the holder of the gate."""
        for state in PARKED:
            if is_there(path := self.at(state, job_id)):
                yield state, path
        for state in TERMINAL:
            for day in reversed(self.days(state)):
                if is_there(path := self.at(state, job_id, day)):
                    yield state, path

    def places(self, job_id: str) -> list[tuple[State, str]]:
        """Return every place where the id is now; looks again where a move may have hidden it."""
        for _ in range(3):
            active = self.at(State.ACTIVE, job_id)
            found = [(State.ACTIVE, active)] if is_there(f"{active}/{JOB}") else []
            if found := [*found, *self.resting(job_id)]:
                return found
        return []


def is_there(path: str) -> bool:
    """Tell whether the path is there for us; OSError where that is unknown, which os.path.lexists takes for a no."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return True


def lock(path: str) -> int | None:
    """Return a descriptor that owns the lock of the job directory at `path`, None when somebody else does.

    Raises FileNotFoundError when the directory is not (or no longer) there. The lock is flock(2) on the directory
    itself: it moves with the job, is inherited with the descriptor, and is dropped by the kernel with its last holder.
    """
    fd = os.open(path, DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not same_file(fd, path):  # moved or replaced between open and flock: this lock is on something else now
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def same_file(fd: int, path: str, *, dir_fd: int | None = None) -> bool:
    """Tell whether `path` names the very file that `fd` has open."""
    try:
        there = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def exists_at(dir_fd: int, name: str) -> bool:
    """Tell whether the directory of `dir_fd` holds `name`, whatever it is."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def kind_of(mode: int) -> str:
    """Return what a person calls a file of this mode."""
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def busy(job_id: str) -> TemporaryFailure:
    """Return the error of an operator whose job is in other hands."""
    return TemporaryFailure(f"job {job_id} is being worked on", fix="wait for the attempt to end, or stop its watcher")
