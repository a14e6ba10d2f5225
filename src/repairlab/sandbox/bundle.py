"""bundle: freeze a producer's directory into the content-addressed store, before anything else looks at it.

Files touched: `store`/.tmp-* while copying, `store`/<sha256> afterwards, for submitters `store`/<sha256>.<uid>
(directories 0555, files 0444 or 0555; where a default ACL of the store says who may read, all others may not).

Several people may share a store: its owner (the service) and, where the directory lets them, submitters. An entry that
is another submitter's is never used, whatever its bytes are now, since its owner can change them later: the store's
owner and root put their own copy in its place, by one exchange; a submitter's copies have names of their own.

The service can read more than who hands a bundle in, so a copy that it makes for a `reader` holds only what that person
may read: every directory from / on and every file is asked, through its open descriptor.

Guarantees: the source lies strictly inside one of the roots, with every symlink in its path resolved, and is reached
from the root by descriptors, so that a path swapped underneath leads nowhere else. Only regular files and symlinks
that stay inside are copied; caches are left out. An entry is proved to match its name each time it is used again; one
that does not (a power cut tore it, somebody changed it) is replaced. Two at once are harmless. `make_durable` comes
before anything durable refers to an entry.

Diagnostics: `BadInput` with field `bundle_dir` for what the producer must mend, `TemporaryFailure` for a full disk and
the like, `Forbidden` for a store that we may not write.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repairlab import access
from repairlab.errors import Forbidden, RepairLabError, TemporaryFailure
from repairlab.sandbox.reach import opened
from repairlab.sandbox.tree import (
    DIRECTORY,
    TEMPORARY,
    BundleLimits,
    Manifest,
    Source,
    Walk,
    check_reader,
    content_digest,
    digests,
    hash_files,
    hash_manifest,
    manifest,
    refused,
    tree_hash,
)

__all__ = [
    "BundleLimits",
    "Manifest",
    "Snapshot",
    "content_digest",
    "hash_files",
    "hash_manifest",
    "make_durable",
    "manifest",
    "remove_tree",
    "snapshot",
    "tree_hash",
]

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen bundle: `path` is `store`/`sha256`, or beside it where another submitter has that name."""

    path: Path
    sha256: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Modes:
    """What a frozen tree may be used for by others; `name` is what is added to its digest."""

    directory: int
    file: int
    program: int
    name: str


def _modes(store: Path) -> _Modes:
    """Return the modes of what this process freezes here."""
    foreign = os.stat(store).st_uid != os.geteuid()
    name = f".{os.geteuid()}" if foreign and os.geteuid() != 0 else ""
    if not access.entries(store, access.DEFAULT):
        return _Modes(0o555, 0o444, 0o555, name)
    # Below a default ACL the group's bits are the mask. With `w` in it the store's owner can remove a submitter's copy.
    # The owner himself needs none, and a mask that is nothing opens nothing when a backup loses the list.
    return _Modes(0o570, 0o440, 0o550, name) if foreign else _Modes(0o500, 0o400, 0o500, name)


def snapshot(
    source: Path,
    *,
    roots: Sequence[Path],
    store: Path,
    limits: BundleLimits | None = None,
    reader: access.Person | None = None,
) -> Snapshot:
    """Return the frozen copy of `source`, not yet durable; on any error the store is as before.

    BadInput for what `reader` may not read.
    """
    limits = limits or BundleLimits()
    with opened(source, roots, reader) as (fd, real):
        walk = Walk(fd, limits, reader)
        with _storing(store):
            if frozen := _already_frozen(real, store, walk):
                return frozen
            store.mkdir(mode=0o755, parents=True, exist_ok=True)
            modes = _modes(store)
            with _staging(store) as staged:
                sha256 = _copy(walk, staged, modes)
                path = _install(staged, store / f"{sha256}{modes.name}", limits)
    return Snapshot(path, sha256, walk.files, walk.bytes)


@contextlib.contextmanager
def _storing(store: Path) -> Iterator[None]:
    """Say trouble with our own store as what it is: never the bundle's fault."""
    try:
        yield
    except OSError as error:
        if error.errno in TEMPORARY or error.errno == errno.ENOENT:  # somebody cleans up
            raise TemporaryFailure(f"{store}: {error.strerror}", fix="make room for bundles") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise Forbidden(f"{store}: {error.strerror}", fix=f"let this user write {store}") from error
        raise


def _already_frozen(real: Path, store: Path, walk: Walk) -> Snapshot | None:
    """A source that is an entry of the store itself, unharmed, is its own snapshot.

    What was opened is proved, and the name only then: it may have been given to another tree meanwhile, one that the
    reader was not asked about.
    """
    if real.parent != store.resolve():
        return None
    proof = _proof(walk.root, real, walk.limits)
    if proof is None or not os.path.samestat(os.lstat(real), os.fstat(walk.root)):
        return None
    check_reader(walk.reader, walk.root, str(real), access.READ | access.ENTER)  # of a frozen tree the top says all
    _touch(walk.root)
    return Snapshot(store / real.name, _digest(real), proof.files, proof.bytes)


def _digest(entry: Path) -> str:
    """Return what an entry's name says of its content."""
    return entry.name.partition(".")[0]


@contextlib.contextmanager
def _staging(store: Path) -> Iterator[Path]:
    staged = store / f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
    staged.mkdir(mode=0o700)
    try:
        if os.stat(store).st_uid != os.geteuid() and access.entries(store, access.DEFAULT):
            # The store's owner needs the mask of a list here. A backup may lose the list, and then these bits are what
            # the group may do, which a setgid store makes that of all submitters.
            os.chown(staged, -1, os.getegid())
        yield staged
    finally:
        remove_tree(staged)


def _copy(walk: Walk, staged: Path, modes: _Modes) -> str:
    """Copy every source below `staged` and return the name of the tree."""
    found: Manifest = {}
    made = {""}
    for source in walk:
        parent = os.path.dirname(source.path)
        if parent not in made:
            os.makedirs(staged / parent, mode=0o755, exist_ok=True)
            made.add(parent)
        found[source.path] = (source.kind, _copy_one(walk, source, staged / source.path, modes))
    if not found:
        raise refused("the bundle is empty", "hand in a directory with the sources and their tests")
    for directory, _, _ in os.walk(staged, topdown=False):
        os.chmod(directory, modes.directory)
    return hash_manifest(found)


def _copy_one(walk: Walk, source: Source, destination: Path, modes: _Modes) -> str:
    if source.kind == "l":
        os.symlink(source.target, destination)
        return content_digest(source.target.encode())
    digest = hashlib.sha256()
    mode = modes.program if source.kind == "x" else modes.file
    fd = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # whatever the umask says
        for piece in walk.read(source):
            digest.update(piece)
            _write_all(fd, piece)
    finally:
        os.close(fd)
    return digest.hexdigest()


def _write_all(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def make_durable(entry: Path) -> None:
    """Flush an entry of the store with its name.

    One syncfs(2) is one commit of the journal, an fsync for every file was one each: ten times the time at
    twenty files. It reports what failed since anybody last asked (Linux 5.8). Older kernels keep silent about errors,
    and get the fsyncs.
    """
    import ctypes
    import platform

    release = [int(part) for part in platform.release().split(".")[:2] if part.isdigit()]
    if release < [5, 8]:
        for at, _, names in os.walk(entry, topdown=False):
            for path in (*(Path(at, name) for name in names if not Path(at, name).is_symlink()), Path(at)):
                _fsync(path)
        _fsync(entry.parent)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with _storing(entry.parent):
        fd = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.syncfs(fd) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(entry))
        finally:
            os.close(fd)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _install(staged: Path, destination: Path, limits: BundleLimits) -> Path:
    """Give the copy its name; what has that name already is kept if it deserves it, and put aside if not."""
    for _ in range(8):
        try:
            os.rename(staged, destination)
        except OSError as error:
            # EPERM: another's entry in a sticky directory; that is looked at before whether it is empty.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EPERM):
                raise
        else:
            return destination
        if _matches(destination, limits):
            _touch(destination)
            return destination
        try:
            if _exchange(staged, destination):
                return destination  # the caller removes what is now `staged`
            _put_aside(destination)
        except PermissionError:  # the directory's sticky bit: it is another submitter's
            destination = destination.with_name(f"{_digest(destination)}.{secrets.token_hex(8)}")
    raise TemporaryFailure(f"{destination} is replaced faster than it can be checked")


def _put_aside(destination: Path) -> None:
    aside = destination.parent / f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
    with contextlib.suppress(FileNotFoundError):  # somebody else moved it aside
        os.rename(destination, aside)
        remove_tree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Let two entries trade places in one step; False where that cannot be.

    Other jobs may name the entry: there must be no moment in which nothing stands there.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOENT):  # the file system cannot, or somebody else moved it aside
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _matches(path: Path, limits: BundleLimits) -> bool:
    """Whether a stored tree is what its name says, and stays so."""
    try:
        fd = os.open(path, DIRECTORY)
    except OSError:
        return False
    try:
        return _proof(fd, path, limits) is not None
    finally:
        os.close(fd)


def _proof(fd: int, path: Path, limits: BundleLimits) -> Walk | None:
    """Return the walk that proves a tree to be what `path` says; nothing lies beside its sources (a .pyc would be run).

    And is no more open than what is frozen now: one from before the store had a default ACL is everybody's to read.

    Its top directory's owner is the owner of all: nobody else can have written below a directory that is 0555.
    """
    try:
        if os.fstat(fd).st_uid not in {0, os.geteuid(), os.lstat(path.parent).st_uid}:
            return None
        handed_down = access.entries(path.parent, access.DEFAULT)
        if handed_down and not access.as_closed(fd, handed_down):  # who may not enter the top gets no further
            return None
        walk = Walk(fd, limits)
        found = digests(walk)
    except (RepairLabError, OSError):
        return None
    return walk if not walk.litter and hash_manifest(found) == _digest(path) else None


def _touch(entry: int | Path) -> None:
    """Let its time to live start again; what is the service's own is touched by the service when it takes the job."""
    with contextlib.suppress(PermissionError):
        os.utime(entry)


def remove_tree(path: Path) -> None:
    """Remove a tree, read-only directories included; what is gone already or another user's is passed over."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    for at, _, _ in os.walk(path):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.chmod(at, 0o700)
    shutil.rmtree(path, ignore_errors=True)
