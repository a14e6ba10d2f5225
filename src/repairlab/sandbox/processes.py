"""processes: what members of a sandbox hold, as /proc tells it.

Resident sizes count a page as often as it is shared, and a fork server shares nearly all of its pages: only when their
sum passes the bound are the proportional sizes asked for, which cost a walk of the page tables.
"""

import contextlib
import os
from collections.abc import Iterable

PAGE = os.sysconf("SC_PAGE_SIZE")
Member = tuple[int, int]  # a descriptor of a /proc, a pid in it


def beyond(members: Iterable[Member], bound: int) -> bool:
    """Whether the members together hold more than `bound` bytes."""
    listed = list(members)
    return all(sum(measure(*member) for member in listed) > bound for measure in (resident, proportional))


def below(proc: int, pid: int) -> list[Member]:
    """Return `pid` and all that descend from it; what outlives its parent belongs to the next subreaper above."""
    found = [(proc, pid)]
    for _, parent in found:
        with contextlib.suppress(OSError):
            tasks = os.open(f"{parent}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
            try:
                for task in os.listdir(tasks):
                    found.extend((proc, int(child)) for child in _text(tasks, f"{task}/children").split())
            finally:
                os.close(tasks)
    return found


def tasks(members: Iterable[Member]) -> int:
    """Return how many processes and threads the members are."""
    count = 0
    for proc, pid in members:
        with contextlib.suppress(OSError):
            count += os.stat(f"{pid}/task", dir_fd=proc).st_nlink - 2
    return count


def resident(proc: int, pid: int) -> int:
    """Return the resident bytes of a process, 0 if it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(_text(proc, f"{pid}/statm").split()[1]) * PAGE
    return 0


def proportional(proc: int, pid: int) -> int:
    """Return the bytes of a process with shared pages divided among their users; resident where that is hidden."""
    with contextlib.suppress(OSError):
        for line in _text(proc, f"{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    return resident(proc, pid)


def _text(proc: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def pids(proc: int) -> list[Member]:
    """Return every process that the /proc directory `proc` shows."""
    try:
        return [(proc, int(name)) for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return []
