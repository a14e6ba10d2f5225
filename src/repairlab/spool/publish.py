"""publish: put documents into a queue so that they are durable before the call returns.

One document: create in tmp/, write, let the bytes be safe before the name (`Disk.order`), renameat2 into the queue
without replacing, fsync the queue directory: one flush where the file system keeps the order, else two. Many: all are
written, one syncfs(2) flushes them, all are renamed, one directory fsync: two flushes a batch. syncfs also flushes what
others wrote to the file system, and reports errors only since Linux 5.8; older kernels get `order` a file.
`durable=False` leaves all flushing to the kernel.

Nothing is visible before it is complete. A crash leaves files in tmp/, which `sweep` removes; a failure removes them.
"""

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress

from repairlab.errors import BadInput, TemporaryFailure
from repairlab.spool.arrival import digest, envelope
from repairlab.spool.disk import DIRECTORY, READ, read_all, rename_new, trouble
from repairlab.spool.job import Job
from repairlab.spool.ordering import recent
from repairlab.spool.policy import State
from repairlab.spool.tree import TMP, Tree

BATCH = 1024
_GROUP = 4  # from so many documents on, one syncfs is cheaper than their fsyncs
_NAME_MAX = 255
_BELIEVED_S = 5.0
_NAME_BYTES = 12  # the shortest name that matters; no file system spends less on an entry of a directory


def publish(tree: Tree, documents: Sequence[tuple[bytes, str | None]], *, durable: bool) -> list[Job]:
    """Publish all, or raise TemporaryFailure; what was published before a failure stays, and again is a no-op."""
    jobs: list[Job] = []
    with trouble("look at the queue"):
        _check_quota(tree, len(documents))
    for start in range(0, len(documents), BATCH):
        with trouble("publish"):
            jobs += _batch(tree, documents[start : start + BATCH], durable)
    return jobs


def _batch(tree: Tree, documents: Sequence[tuple[bytes, str | None]], durable: bool) -> list[Job]:
    tmp = f"{tree.path}/{TMP}"
    grouped = durable and len(documents) >= _GROUP and recent()
    # Before the writes: syncfs reports the errors since its descriptor was opened. Not tmp/, which nobody may list.
    fd = os.open(tree.path, DIRECTORY)
    mine, uid = f"{tmp}/publish-{os.getpid()}-{secrets.token_hex(8)}", os.geteuid()
    staged: list[tuple[str, str, bytes, str]] = []
    jobs: list[Job] = []
    try:
        for number, (document, name) in enumerate(documents):
            known = digest("bytes", str(uid), document)
            target = name if name is not None else _default_name(tree, known)
            _check_name(tree, target)
            path = f"{mine}-{number}"
            tree.disk.write("publish", path, document, sync=durable and not grouped)
            staged.append((path, target, document, known))
        if grouped:
            tree.disk.sync_file_system("publish.syncfs", fd)
        for item in staged:
            jobs.append(_into_place(tree, *item, durable=durable))  # noqa: PERF401 - those before a failure are placed
        if durable:
            tree.disk.sync_directory("publish.directory", tree.path)
        return jobs
    finally:
        os.close(fd)
        for path, *_ in staged[len(jobs) :]:
            with suppress(OSError):
                os.unlink(path)


def _into_place(tree: Tree, staged: str, name: str, document: bytes, known: str, *, durable: bool) -> Job:
    target = f"{tree.path}/{name}"
    while not _moved(tree, staged, target):
        held = _held(tree, target, document, durable=durable)
        if held is False:
            raise BadInput(f"{name} exists with other contents", field="name", fix="choose another name")
        if held:
            with suppress(OSError):
                os.unlink(staged)
            break
    uid = os.geteuid()
    env = envelope(document, uid)
    job_id = digest("key", str(uid), env.key.encode()) if env.key else known
    return Job(tree, job_id, State.WAITING, target, {"name": name, "submitter": uid, "lineage": env.lineage})


def _moved(tree: Tree, staged: str, target: str) -> bool:
    try:
        tree.disk.do("publish.rename", rename_new, staged, target)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise TemporaryFailure("the staged file was swept away; was the clock set?", fix="publish again") from None
    return True


def _held(tree: Tree, path: str, document: bytes, *, durable: bool) -> bool | None:
    """Tell whether the file is the document, None where it has been claimed meanwhile.

    A relaxed publisher may have put it there: what is promised is flushed, the very file that was read, whatever has
    that name by then, and read once more from the disk. The kernel tells of a failed write once; to who asks later the
    page is clean, and only the disk knows what it has kept.
    """
    try:
        with trouble("publish"):
            fd = tree.disk.do("publish.compare", os.open, path, READ)
    except FileNotFoundError:
        return None
    except OSError:
        return False
    try:
        if not _has(fd, document):
            return False
        if durable:
            tree.disk.do("publish.again", os.fsync, fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not _has(fd, document):
                message = f"{os.path.basename(path)} waits already, but the disk has lost what is in it"
                raise TemporaryFailure(message, fix="look at the disk, and publish under another name")
        return True
    finally:
        os.close(fd)


def _has(fd: int, document: bytes) -> bool:
    os.lseek(fd, 0, os.SEEK_SET)
    return stat.S_ISREG(os.fstat(fd).st_mode) and read_all(fd, len(document) + 1) == document


def _default_name(tree: Tree, known: str) -> str:
    """Return the name that a document gets when its publisher gives none: by its contents."""
    separator = "-" if tree.prefix[-1:].isalnum() else ""
    return f"{tree.prefix}{separator}{known}{tree.suffix}"


def _check_name(tree: Tree, name: str) -> None:
    if "/" in name or "\0" in name or len(os.fsencode(name)) > _NAME_MAX or not tree.arrives(name):
        fix = f"use {tree.prefix}…{tree.suffix} without a slash"
        raise BadInput(f"{name!r} is not a name that this queue takes", field="name", fix=fix)


def _check_quota(tree: Tree, more: int) -> None:
    """Refuse what would take this uid beyond its quota of waiting files.

    The size of the directory bounds the number of its entries from above, so that the usual answer costs one stat. A
    count is believed for some seconds: the quota is a brake, not a ledger.
    """
    quota = tree.policy.quota_waiting
    if os.stat(tree.path).st_size // _NAME_BYTES + more <= quota:
        return
    now, uid = tree.clock.monotonic(), os.geteuid()
    at, waiting = tree.seen_waiting.get(uid, (-_BELIEVED_S, 0))
    if now - at >= _BELIEVED_S or waiting + more > quota:
        at, waiting = now, sum(_owned(entry, uid) for entry in os.scandir(tree.path) if tree.arrives(entry.name))
    if waiting + more > quota:
        message = f"{waiting} jobs of uid {uid} wait already, the quota is {quota}"
        raise TemporaryFailure(message, field="queue.quota_waiting", fix="wait until some are done")
    tree.seen_waiting[uid] = (at, waiting + more)


def _owned(entry: "os.DirEntry[str]", uid: int) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_uid == uid
    except FileNotFoundError:
        return False
