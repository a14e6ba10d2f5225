"""meter: what all processes of one sandbox hold together, for the shim that keeps them.

Memory is the control group's own sum where this process is alone in its group: exact, whoever shares what, and nothing
hides from it. Else it is the sum over the processes that descend from this one. A file system with a size of its own
bounds its files; where the sandbox writes to a disk its files are counted, each half second.

Both are opened before the shim confines itself.
"""

import os
import re
from collections.abc import Sequence

from repairlab.sandbox.processes import below, beyond

CGROUPS = "/sys/fs/cgroup"
LOOK_S = 0.5
BLOCK = 512
# Lines of memory.stat: what the processes hold. Files of a tmpfs are bounded by its size, cached files can be dropped.
HELD = re.compile(rb"^(?:anon|total_rss) (\d+)$", re.MULTILINE)
KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


class Memory:
    """The memory of this process's control group, or of its descendants."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        directory = _group()
        self._stat = _open(f"{directory}/memory.stat") if directory else -1
        events = ("memory.events", "memory.oom_control")  # version 2, version 1
        found = [_open(f"{directory}/{name}") for name in events] if directory else []
        self._events = max(found, default=-1)
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._killed = self._kills()

    def exceeded(self) -> bool:
        """Whether all together hold more than they may, or the kernel has had to end one of them."""
        if self._stat >= 0:
            return _number(self._stat, HELD) > self._bound or self.overrun()
        return beyond(below(self._proc, os.getpid()), self._bound)

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
        return space.f_blocks * space.f_frsize <= 2 * self._bytes and 0 < space.f_files <= 2 * self._inodes

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
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone meanwhile
            except OSError:
                return False  # closed, or deeper than a path can say: what cannot be counted does not fit
        return True


def _group() -> str | None:
    """Return the control group that accounts for this process's memory and for nobody else's; None where it cannot."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        groups = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in sorted(groups, key=lambda group: "memory" not in group[1]):
        for mounted in (f"{CGROUPS}/memory", CGROUPS):
            at = f"{mounted}{path}"
            if ("memory" in controllers.split(",") or not controllers) and _alone(at):
                return at
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
    found = line.search(os.pread(fd, 1 << 16, 0))
    return int(found[1]) if found else 0
