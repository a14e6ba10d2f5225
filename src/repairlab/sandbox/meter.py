"""meter: what all processes of one sandbox hold together, for the shim that keeps them.

Memory is the control group's own sum where this process is alone in its group, less what the files of its file systems
take: exact, whoever shares what. Else it is the sum over the processes that descend from this one, which sees no shared
mapping that nobody has touched of late; their number is looked at too. A file system with a size of its own bounds its
files; where the sandbox writes to a disk its files are counted each half second, but for those without a name.

Both are opened before the shim confines itself.
"""

import os
import re
from collections.abc import Sequence

from repairlab.sandbox.processes import below, beyond, tasks

CGROUPS, MEMBERSHIP = "/sys/fs/cgroup", "/proc/self/cgroup"
LOOK_S = 0.5
SIZED, SIZED_FILES = 1 << 30, 1 << 20  # a file system beyond that has the size that its disk or the machine gave it
BLOCK = 512
# Of memory.stat, version 1 and 2: private memory, and shared memory with the files of a tmpfs. What of a disk is cached
# can be dropped. Version 1 has a line `shmem` as well, of the group without those below it.
HELD_1 = re.compile(rb"^(?:total_rss|total_shmem) (\d+)$", re.MULTILINE)
HELD_2 = re.compile(rb"^(?:anon|shmem) (\d+)$", re.MULTILINE)
KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


class Memory:
    """The memory of this process's control group, or of its descendants; where these are seen, their number too."""

    def __init__(self, bound: int, directories: Sequence[str], processes: int) -> None:
        self._bound, self._processes = bound, processes
        self._spaces = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in directories if _sized(path)]
        directory, self._held, events = _group() or (None, HELD_2, "")
        self._stat = _open(f"{directory}/memory.stat") if directory else -1
        self._events = _open(f"{directory}/{events}") if directory else -1
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._killed = self._kills()

    def exceeded(self) -> str | None:
        """Return what there is too much of, if the kernel has not had to end something for it already."""
        if self._stat >= 0:
            held = _number(self._stat, self._held) - sum(map(_used, self._spaces))
            return "memory_mb" if held > self._bound or self.overrun() else None
        members = below(self._proc, os.getpid())[1:]
        if tasks(members) > self._processes:
            return "processes"
        return "memory_mb" if beyond(members, self._bound) else None

    def overrun(self) -> bool:
        """Whether the kernel has ended a process for want of memory since the start."""
        return self._kills() > self._killed

    def _kills(self) -> int:
        return _number(self._events, KILLS) if self._events >= 0 else 0


class Disk:
    """Files below directories that no file system of their own bounds."""

    def __init__(self, directories: Sequence[str], tmpfs_mb: int, inodes: int) -> None:
        self._bytes, self._inodes = tmpfs_mb << 20, inodes
        self._watched = [path for path in directories if os.path.isdir(path) and not self._bounded(path)]
        self._next = 0.0

    def _bounded(self, path: str) -> bool:
        space = os.statvfs(path)
        size = space.f_blocks * space.f_frsize
        return _sized(path) and size <= self._bytes and space.f_files <= self._inodes

    def exceeded(self, now: float) -> bool:
        """Whether there are more files or bytes than there may be; looked at each half second."""
        if not self._watched or now < self._next:
            return False
        self._next = now + LOOK_S
        return not all(self._fits(path) for path in self._watched)

    def _fits(self, top: str) -> bool:
        size = count = 0
        pending = [top]
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        count += 1
                        status = entry.stat(follow_symlinks=False)
                        size += status.st_blocks * BLOCK
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        if size > self._bytes or count > self._inodes:
                            return False
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # gone meanwhile; or closed by its maker, who cannot put anything in either
            except OSError:
                return False  # deeper than a path can say: what cannot be counted does not fit
        return True


def sized(paths: Sequence[str]) -> list[str]:
    """Return the paths without those directories that no file system of their own bounds."""
    return [path for path in paths if not os.path.isdir(path) or path == "/dev/pts" or _sized(path)]


def _sized(path: str) -> bool:
    """Whether this is a directory on a file system of a size that somebody has set."""
    if not os.path.isdir(path):
        return False
    space = os.statvfs(path)
    return space.f_blocks * space.f_frsize <= SIZED and 0 < space.f_files <= SIZED_FILES


def _used(directory: int) -> int:
    space = os.fstatvfs(directory)
    return (space.f_blocks - space.f_bfree) * space.f_frsize


def empty(top: str) -> None:
    """Remove what is in a directory, once nothing untrusted runs any more; what cannot be removed stays."""
    import shutil

    for name in os.listdir(top):
        path = os.path.join(top, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def _group(
    cgroups: str = CGROUPS, membership: str = "/proc/self/cgroup"
) -> "tuple[str, re.Pattern[bytes], str] | None":
    """Return the control group that accounts for this process's memory and for nobody else's; None where it cannot.

    With it what of its memory.stat is held, and the file that counts what the kernel has ended: cgroups(7), the line of
    version 2 names no controllers.
    """
    with open(membership, encoding="utf-8") as file:
        groups = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            found = f"{cgroups}/memory{path}", HELD_1, "memory.oom_control"
        elif not controllers:
            found = f"{cgroups}{path}", HELD_2, "memory.events"
        else:
            continue
        if _alone(found[0]):
            return found
    return None


def _alone(group: str) -> bool:
    try:
        with open(f"{group}/cgroup.procs", encoding="ascii") as file:
            return [int(pid) for pid in file] == [os.getpid()] and os.path.exists(f"{group}/memory.stat")
    except OSError:
        return False


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _number(fd: int, line: "re.Pattern[bytes]") -> int:
    return sum(map(int, line.findall(os.pread(fd, 1 << 16, 0))))
