"""ordering: whether a file system makes changes durable in the order in which they were made.

xfs and ext4 with a journal do: each change of names and sizes belongs to a transaction, a transaction is never durable
before those that went before it, and its commit flushes the disk's cache first. Bytes that the disk has when their file
gets its name are therefore safe wherever that name is, and one fsync makes safe all that was done before it. Everything
else gets a flush for each order that matters: a file system that promises less (btrfs, which ends a write before its
extent is in the tree), ext4 without a journal, and whatever cannot be asked, as ext4 in a sandbox without /sys.

Sources: jbd2 (Documentation/filesystems/journalling.rst), the logging design of xfs
(Documentation/filesystems/xfs/xfs-delayed-logging-design.rst), sync_file_range(2), ext4(5). See docs/decisions/0815.
"""

import os
import platform
from contextlib import suppress
from pathlib import Path

_MOUNTS = "/proc/self/mountinfo"
# Its commit block may reach the disk before what it commits; nobody waits for the cache.
_UNORDERED = frozenset({"journal_async_commit", "nobarrier", "barrier=0"})
_ELSEWHERE = ("rtdev=", "logdev=")  # xfs with bytes, or the log, on a device of their own: nobody has cut its power


def recent() -> bool:
    """Whether syncfs(2) reports errors (Linux 5.8) and sync_file_range(2) leaves no page behind (5.2)."""
    numbers = platform.release().split(".")[:2]
    return all(n.isdigit() for n in numbers) and [int(n) for n in numbers] >= [5, 8]


def keeps_order(path: str) -> bool:
    """Return whether the file system of `path`, or of what is to be made there, keeps the order; False if unknown."""
    with suppress(OSError, ValueError, StopIteration):
        device = os.stat(_existing(os.path.abspath(path))).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            mount = next(line for line in mounts if line.split(" ", 3)[2] == number)
        return recent() and (_kind(mount) == "xfs" or (_kind(mount) == "ext4" and _journaled(number)))
    return False


def _existing(path: str) -> str:
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _kind(mount: str) -> str:
    """Return the type of a mounted file system, nothing where its barriers are not the ordinary ones."""
    kind, _, options = mount.partition(" - ")[2].split()
    told = options.split(",")
    ordinary = _UNORDERED.isdisjoint(told) and not any(option.startswith(_ELSEWHERE) for option in told)
    return kind if ordinary else ""


def _journaled(number: str) -> bool:
    """Ask the kernel for the thread that writes the journal; its number is 0 where it is in another PID namespace."""
    name = os.path.basename(os.readlink(f"/sys/dev/block/{number}"))
    return Path(f"/sys/fs/ext4/{name}/journal_task").read_text(encoding="ascii").strip().isdigit()
