"""arrival: one file that was dropped into the queue, looked at without trusting it.

`look` never follows a link, never opens a device, never blocks on a FIFO and never reads more than the bound. What is
not a readable regular file of a bearable size still becomes a job, with an id of its own, and is rejected by whoever
claims it.

The id is a digest of the owner and the idempotency key or else the bytes, so the same document twice is one job. What
cannot be read is known by device, inode, ctime and name.
"""

import errno
import fcntl
import hashlib
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from repairlab import access
from repairlab.spool.disk import READ, read_all
from repairlab.spool.tree import ID_CHARS, Tree, kind_of

PRIORITY = 100
LINEAGE_CHARS = 128
KEY_CHARS = 256  # of a key that are kept beside the job; the id is made of all
NOT_BEFORE_CHARS = 64


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the queue itself reads of a document, leniently: a wrong field counts as absent."""

    priority: int
    lineage: str
    not_before: str | None = None
    key: str | None = None
    behalf: int | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One waiting file; `fd` is open only within `look`, `problem` says why the file cannot be read."""

    name: str
    status: os.stat_result
    fd: int | None
    raw: bytes
    problem: str
    envelope: Envelope

    @property
    def submitter(self) -> int:
        """The uid that owns the file."""
        return self.status.st_uid

    @property
    def served(self) -> int:
        """The uid whose turn the job takes: the submitter's, or whose work the service itself says that it hands on."""
        behalf = self.envelope.behalf
        return self.submitter if behalf is None or self.submitter != os.geteuid() else behalf

    @property
    def id(self) -> str:
        """The id of the job that the file is or becomes."""
        if self.problem:
            st = self.status
            return digest("odd", f"{st.st_dev}.{st.st_ino}.{st.st_ctime_ns}", os.fsencode(self.name))
        return _id_of(self.envelope, self.raw, self.submitter)

    @property
    def half_written(self) -> bool:
        """Whether the bytes look like the first part of a document."""
        text = self.raw.strip()
        return not text or (text[:1] in b"{[" and text[-1:] not in (b"}", b"]"))


def is_foreign(status: os.stat_result) -> bool:
    """Tell whether somebody else could still change a file once it is in our hands."""
    regular = stat.S_ISREG(status.st_mode)
    return regular and (status.st_uid != os.geteuid() or status.st_nlink > 1 or bool(status.st_mode & 0o022))


def digest(kind: str, owner: str, what: bytes) -> str:
    """Return an id."""
    return hashlib.sha256(f"{kind}\0{owner}\0".encode() + what).hexdigest()[:ID_CHARS]


def id_of(raw: bytes, submitter: int) -> str:
    """Return the id of the job that these bytes of this user are."""
    return _id_of(envelope(raw, submitter), raw, submitter)


def _id_of(env: Envelope, raw: bytes, submitter: int) -> str:
    if env.key is not None:
        return digest("key", str(submitter), env.key.encode())
    return digest("bytes", str(submitter), raw)


def envelope(raw: bytes, submitter: int) -> Envelope:
    """Return what the queue needs of a document, defaults for all that is not as it should be."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    priority = fields.get("priority")
    key = fields.get("idempotency_key")
    not_before = fields.get("not_before")
    lineage, behalf = fields.get("lineage"), fields.get("submitter")
    return Envelope(
        priority=max(-PRIORITY, min(PRIORITY, priority)) if type(priority) is int else 0,
        lineage=lineage[:LINEAGE_CHARS] if isinstance(lineage, str) and lineage else f"uid-{submitter}",
        not_before=not_before if isinstance(not_before, str) and len(not_before) <= NOT_BEFORE_CHARS else None,
        key=key if isinstance(key, str) and key else None,
        behalf=behalf if type(behalf) is int and 0 <= behalf < access.NOBODY else None,
    )


@contextmanager
def look(tree: Tree, name: str) -> Iterator[Arrival]:
    """Open and read one arrival; FileNotFoundError when it is gone. Costs lstat, open, fstat, read, close."""
    path = f"{tree.path}/{name}"
    status = os.stat(path, follow_symlinks=False)
    fd, problem = None, ""
    if not stat.S_ISREG(status.st_mode):
        problem = f"it is {kind_of(status.st_mode)}"
    else:
        fd, problem = _open(path)
    try:
        yield _read(tree, name, status, fd, problem)
    finally:
        if fd is not None:
            os.close(fd)


def _open(path: str) -> tuple[int | None, str]:
    try:
        return os.open(path, READ), ""
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return None, "it is not readable for this service"
        if error.errno in (errno.ELOOP, errno.ENXIO):  # became a link or a socket since the lstat
            return None, "it is not a regular file"
        raise


def _read(tree: Tree, name: str, status: os.stat_result, fd: int | None, problem: str) -> Arrival:
    raw = b""
    if fd is not None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            problem = f"it is {kind_of(status.st_mode)}"
        elif status.st_size > tree.policy.max_bytes:
            problem = f"it has {status.st_size} bytes, the bound is {tree.policy.max_bytes}"
        else:
            raw = read_all(fd, tree.policy.max_bytes + 1)
    return Arrival(name, status, fd, raw, problem, envelope(raw, status.st_uid))


def lease(fd: int) -> bool | None:
    """Take a read lease: True when nobody has the file open for writing, False when somebody has, None unknown.

    fcntl(2), F_SETLEASE: EAGAIN while a writer exists; EACCES for a foreign file without CAP_LEASE; EINVAL where the
    file system has no leases. A later open for writing waits until the lease is gone. The kernel tells us of it by a
    signal, which is SIGIO (deadly by default) unless F_SETSIG names one that is ignored by default.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise
    return True
