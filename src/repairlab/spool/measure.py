"""measure: what lies below a path that somebody else may have made, and is changing.

Nothing is followed, no depth is too deep (one descriptor is open at a time, the way back is `..`, believed only if it
leads to where we came from), and what cannot be looked at counts as not there: a directory that is closed to us, a file
that is gone. Trouble of the machine's is raised: an input/output error, no descriptor left.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import closing

from repairlab.spool.disk import DIRECTORY

_NOT_THERE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.ESTALE,
)


def usage(path: str) -> tuple[int, int]:
    """Return the bytes on disk and the inodes of a tree."""
    used = inodes = 0
    for status in statuses(path):
        used, inodes = used + status.st_blocks * 512, inodes + 1
    return used, inodes


def changed(status: os.stat_result) -> float:
    """Return the instant of the last change, which its owner cannot have put into the future."""
    return min(status.st_mtime, status.st_ctime)


def statuses(path: str) -> Iterator[os.stat_result]:
    """Yield the status of `path` and of all that is below it."""
    status = _look(path)
    if status is None:
        return
    yield status
    here = _enter(path) if stat.S_ISDIR(status.st_mode) else None
    if here is not None:
        with closing(_Below(here)) as below:
            yield from below


class _Below:
    """The directory that is looked at, what of it and of those above is still to be looked at; takes `fd` over."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._todo: list[str] = os.listdir(fd)
        self._above: list[tuple[os.stat_result, list[str]]] = []

    def __iter__(self) -> Iterator[os.stat_result]:
        while self._todo or self._back():
            if not self._todo:
                continue
            name = self._todo.pop()
            status = _look(name, self._fd)
            if status is None:
                continue
            yield status
            if stat.S_ISDIR(status.st_mode):
                self._down(name)

    def _down(self, name: str) -> None:
        fd = _enter(name, self._fd)
        if fd is None:
            return
        self._above.append((os.fstat(self._fd), self._todo))
        os.close(self._fd)
        self._fd, self._todo = fd, os.listdir(fd)

    def _back(self) -> bool:
        """Go back up; False at the top, and where the directory has been moved elsewhere since we came."""
        if not self._above:
            return False
        above, self._todo = self._above.pop()
        fd = _enter("..", self._fd)
        if fd is None:
            return False
        os.close(self._fd)
        self._fd = fd
        return os.path.samestat(os.fstat(fd), above)

    def close(self) -> None:
        os.close(self._fd)


def _look(name: str, dir_fd: int | None = None) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def _enter(name: str, dir_fd: int | None = None) -> int | None:
    """Open a directory for listing; None where that, or the way back out of it, is closed to us."""
    try:
        fd = os.open(name, DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    if _look(".", fd) is None:
        os.close(fd)
        return None
    return fd
