"""disk: the system calls of a spool, each a named step that a test can stop, fail or kill at.

`Disk.do("claim.rename", os.rename, …)` calls the hook with `before claim.rename` and `after claim.rename`. Errors that
mean "not now" (no space, no quota, no descriptors, a failing device) become `TemporaryFailure` in `trouble()`.

A file is durable when its bytes were safe before it got its name and its directory was fsynced after. `order` is for
what must be safe no later than what follows, an fsync for what must be safe now: where the file system keeps the order
of changes itself (`ordered`), only the second is a flush. An fsync that failed once is never repeated and believed: the
kernel may have dropped the dirty pages and marked them clean (P. Ts'ai et al., "Can Applications Recover from fsync
Failures?", ATC 2020), so the file is written anew.
"""

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ParamSpec, TypeVar

from repairlab.errors import PASSING, TemporaryFailure

P = ParamSpec("P")
T = TypeVar("T")
Hook = Callable[[str], None]

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
DIRECTORY = READ | os.O_DIRECTORY
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FSYNC_FAILED = "an fsync failed"
EXPIRED = ".expired-"  # deploy/tmpfiles.d/repairlab.conf names it too

_RENAME_NOREPLACE = 1
_WRITE_AND_WAIT = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


@contextmanager
def trouble(doing: str) -> Iterator[None]:
    """Turn an OSError that passes by itself into `TemporaryFailure`; others go through."""
    try:
        yield
    except OSError as error:
        if error.errno not in PASSING:
            raise
        message = f"cannot {doing}: {PASSING[error.errno]}"
        raise TemporaryFailure(message, fix="free some and try again; nothing was lost") from error


class Disk:
    """The file operations of one spool; every one is a step of the hook.

    `ordered` says that on this file system no change is durable without those before it (`ordering.keeps_order`).
    """

    __slots__ = ("hook", "ordered")

    def __init__(self, hook: Hook | None = None, *, ordered: bool = False) -> None:
        self.hook, self.ordered = hook, ordered

    def do(self, step: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `call(*args)`, telling the hook before and after."""
        if self.hook is None:
            return call(*args, **kwargs)
        self.hook(f"before {step}")
        result = call(*args, **kwargs)
        self.hook(f"after {step}")
        return result

    def write(self, step: str, path: str, data: bytes, *, dir_fd: int | None = None, sync: bool) -> None:
        """Create `path` (which must not exist) with `data`; on any failure it does not exist afterwards."""
        # 0644, not 0666: below a default ACL the group's bits become the mask, and no umask takes the `w` out of it.
        fd = self.do(f"{step}.create", os.open, path, CREATE, 0o644, dir_fd=dir_fd)
        try:
            self.do(f"{step}.write", write_all, fd, data)
            if sync:
                self.order(f"{step}.order", fd)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(path, dir_fd=dir_fd)
            raise
        finally:
            os.close(fd)

    def replace(
        self, step: str, name: str, data: bytes, *, dir_fd: int | None = None, sync: bool, by: str = ""
    ) -> None:
        """Give the file `name` new contents in one rename: readers see the old bytes or the new ones.

        `by` names who does so, if nobody else can be of that name meanwhile (a job that is claimed): what his death has
        left beside the file goes when he comes back. Without it the directory's owner has to look for it.
        """
        staged = _staged(name, by, dir_fd)
        try:
            self.write(step, staged, data, dir_fd=dir_fd, sync=sync)
            self.do(f"{step}.rename", os.rename, staged, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            with suppress(FileNotFoundError):  # it may be there even where creating it failed
                os.unlink(staged, dir_fd=dir_fd)
            raise

    def put_new(self, step: str, name: str, data: bytes, *, by: str = "") -> bool:
        """Give bytes a name that nothing has, which is not durable yet, nor without them; False where something has it.

        `by` as in `replace`.
        """
        staged = _staged(name, by, None)
        self.write(step, staged, data, sync=True)
        try:
            self.do(f"{step}.rename", rename_new, staged, name)
        except FileExistsError:
            os.unlink(staged)
            return False
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise
        return True

    def order(self, step: str, fd: int) -> None:
        """Let nothing that is done later be durable without what `fd`, a file or a directory, holds now.

        Costs a write without a flush where the file system is `ordered`, an fsync elsewhere.
        """
        self.do(step, _hand_over if self.ordered else os.fsync, fd)

    def order_path(self, step: str, path: str) -> None:
        """`order` for the file or directory of a name."""
        fd = os.open(path, READ)
        try:
            self.order(step, fd)
        finally:
            os.close(fd)

    def sync_directory(self, step: str, path: str) -> None:
        """Make the names in the directory durable."""
        fd = os.open(path, DIRECTORY)
        try:
            self.do(step, os.fsync, fd)
            os.fstat(fd)  # EIO where xfs has shut down meanwhile, of which an fsync of a directory may say nothing
        finally:
            os.close(fd)

    def sync_file_system(self, step: str, fd: int) -> None:
        """Flush the whole file system of `fd` in one commit, errors since `fd` was opened included (Linux 5.8)."""
        self.do(step, _syncfs, fd)


def _staged(name: str, by: str, dir_fd: int | None) -> str:
    """Return where the bytes of a file lie until it gets its name; nothing is there."""
    directory, last = os.path.split(name)
    staged = os.path.join(directory, f".{last}.{by or secrets.token_hex(4)}")
    if by:
        with suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=dir_fd)
    return staged


def remove_staged(fd: int) -> None:
    """Remove what a replacement that never came about has left in the job's directory."""
    for name in os.listdir(fd):
        if name.startswith("."):
            with suppress(OSError):
                os.unlink(name, dir_fd=fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; a short write is followed by the next one, which names the error."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


def read_all(fd: int, limit: int) -> bytes:
    """Return at most `limit` bytes of what `fd` still has."""
    chunks, left = [], limit
    while left > 0 and (chunk := os.read(fd, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def read_file(path: str | os.PathLike[str], limit: int, *, dir_fd: int | None = None) -> bytes:
    """Return the bytes of a regular file, never following a link and never waiting for a writer."""
    fd = os.open(path, READ, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return read_all(fd, limit)
    finally:
        os.close(fd)


def _hand_over(fd: int) -> None:
    """Write what is dirty to the disk and wait until that has it, in its cache perhaps; errors are this file's."""
    if _libc.sync_file_range(fd, 0, 0, _WRITE_AND_WAIT) != 0:
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EPERM):  # a filter of system calls that knows fsync alone
            raise OSError(code, os.strerror(code))
        os.fsync(fd)


def _syncfs(fd: int) -> None:
    if _libc.syncfs(fd) != 0:
        raise OSError(ctypes.get_errno(), FSYNC_FAILED)


def rename_new(source: str, target: str, *, src_dir_fd: int = _AT_FDCWD, dst_dir_fd: int = _AT_FDCWD) -> None:
    """Rename without replacing: FileExistsError where `target` exists.

    renameat2(2) does it in one step; where the file system cannot (EINVAL), link and unlink do it in two, between
    which both names exist.
    """
    old, new = os.fsencode(source), os.fsencode(target)
    code = errno.EINTR
    while code == errno.EINTR:  # PEP 475 does as much for the calls of `os`
        if _libc.renameat2(src_dir_fd, old, dst_dir_fd, new, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), source, None, target)
    origin = None if src_dir_fd == _AT_FDCWD else src_dir_fd
    goal = None if dst_dir_fd == _AT_FDCWD else dst_dir_fd
    if stat.S_ISDIR(os.stat(source, dir_fd=origin, follow_symlinks=False).st_mode):
        # A directory cannot be linked; rename(2) replaces at most an empty one, which is never a job.
        os.rename(source, target, src_dir_fd=origin, dst_dir_fd=goal)
        return
    os.link(source, target, src_dir_fd=origin, dst_dir_fd=goal, follow_symlinks=False)
    os.unlink(source, dir_fd=origin)


def remove_tree(path: str, *, dir_fd: int | None = None) -> None:
    """Remove `path`, whatever it is and however deep it nests; never follows a link.

    Children that are directories are first renamed up into the top one, so that neither recursion nor descriptors nor
    PATH_MAX bound the depth. Raises OSError for what the owner of this process may not remove.
    """
    try:
        top = _open_directory(path, dir_fd)
    except NotADirectoryError:
        os.unlink(path, dir_fd=dir_fd)
        return
    try:
        with suppress(PermissionError):  # a frozen bundle is read-only
            os.fchmod(top, 0o700)
        while names := os.listdir(top):
            for name in names:
                _remove_flattening(top, name)
    finally:
        os.close(top)
    os.rmdir(path, dir_fd=dir_fd)


def remove_or_hand_over(path: str) -> bool:
    """Remove `path`; False where that takes root, and it has been renamed to `.expired-*` beside where it was.

    In a directory of another user's nobody else may remove anything. What that user put into a directory of ours can
    be renamed there, however, and systemd-tmpfiles, which runs as root anyway, empties what has that name. Later calls
    remove the empty rest.
    """
    with suppress(FileNotFoundError):
        try:
            remove_tree(path)
        except PermissionError:
            parent, name = os.path.split(path)
            if not name.startswith(EXPIRED):
                os.rename(path, f"{parent}/{EXPIRED}{secrets.token_hex(8)}")
            return False
    return True


def _open_directory(name: str, dir_fd: int | None) -> int:
    if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
    try:
        return os.open(name, DIRECTORY, dir_fd=dir_fd)
    except PermissionError:
        # chmod(2) would follow a link that its owner puts here meanwhile.
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
        finally:
            os.close(fd)
        return os.open(name, DIRECTORY, dir_fd=dir_fd)


def _make_writable(name: str, dir_fd: int) -> None:
    fd = _open_directory(name, dir_fd)
    try:
        with suppress(PermissionError):
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def _remove_flattening(top: int, name: str) -> None:
    try:
        fd = _open_directory(name, top)
    except NotADirectoryError:
        os.unlink(name, dir_fd=top)
        return
    try:
        with suppress(PermissionError):
            os.fchmod(fd, 0o700)
        for child in os.listdir(fd):
            if stat.S_ISDIR(os.stat(child, dir_fd=fd, follow_symlinks=False).st_mode):
                _make_writable(child, fd)  # or its `..` cannot be changed
                os.rename(child, secrets.token_hex(8), src_dir_fd=fd, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top)
