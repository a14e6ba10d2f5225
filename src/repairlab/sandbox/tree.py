"""tree: read a directory of untrusted sources without being led out of it, and name it by its content.

`walk` lists what counts as source below an open directory, by descriptors only: nothing is followed, nothing that could
block or act on being opened is opened, and it stops at the first bound that is passed, so that a million files cost no
more than the bound. Caches, virtual environments and version control (`excluded`) are no sources.

A tree is named by the sha256 over its sorted sources: kind (`f` file, `x` executable file, `l` symlink), path and the
sha256 of the content (of a symlink: its target). Directories stand only for what is in them, as in git; times, owners
and other mode bits do not count. The same tree has the same name wherever it lies (`tree_hash`), also in memory
(`hash_files`) and after edits to a few of its files (`manifest`, `hash_manifest`).
"""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repairlab import access
from repairlab.errors import BadInput, TemporaryFailure

Kind = Literal["f", "x", "l"]

CHUNK = 1 << 20
MAX_DEPTH = 64
MAX_HOPS = 40  # as the kernel's own bound on symlinks in one resolution
DOMAIN = b"repairlab-tree/1\0"
EXCLUDED_NAMES = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".bzr",
        ".jj",
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        ".venv",
        ".eggs",
        ".cache",
        "node_modules",
        ".coverage",
        ".DS_Store",
    }
)
EXCLUDED_SUFFIXES = (".pyc", ".pyo")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that takes the file's place between lstat and open must not make us wait for its writer.
REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
TEMPORARY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE})


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """How large a bundle may be; names outside the sources count too, up to twice `max_files`."""

    max_files: int = 20_000
    max_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a tree: `fd` is open for reading on a file until the next is asked for, -1 for a symlink."""

    path: str
    kind: Kind
    fd: int
    target: str


Manifest = dict[str, tuple[Kind, str]]  # path → kind, hex sha256 of the content


def excluded(name: str) -> bool:
    """Whether an entry of this name is no source, wherever it stands."""
    return name in EXCLUDED_NAMES or name.endswith(EXCLUDED_SUFFIXES) or name.startswith(".coverage.")


def refused(message: str, fix: str) -> BadInput:
    """Return the error of a bundle that cannot be used."""
    return BadInput(message, field="bundle_dir", fix=fix)


def check_reader(reader: access.Person | None, fd: int, path: str, wanted: int) -> None:
    """Refuse what the person in whose name it is read may not read himself: a service that reads more is no way to it.

    Asked of the open descriptor, so that nothing can be put in its place afterwards.
    """
    if reader is not None and not access.may(reader, fd, wanted):
        owner = os.fstat(fd).st_uid
        message = f"{path} belongs to uid {owner} and is not readable for uid {reader.uid}, who handed it in"
        raise refused(message, "hand in a copy of your own: `repairlab submit DIR`")


class Walk:
    """One pass over a tree, with its bounds and what was found so far (`files`, `bytes` as told by their sizes).

    With `reader` whatever that person may not read is refused, also where this process may.
    """

    def __init__(self, root: int, limits: BundleLimits, reader: access.Person | None = None) -> None:
        self.limits = limits
        self.reader = reader
        self.root = root
        self.owner = os.fstat(root).st_uid
        self.entries = 0
        self.files = 0
        self.bytes = 0
        self.links: dict[str, str] = {}
        self.litter = False  # whether anything was seen that is no source
        self._directories: set[str] = set()

    def __iter__(self) -> Iterator[Source]:
        """Yield every source; raise `BadInput` at the first thing that no bundle may hold."""
        try:
            yield from self._directory(self.root, "", 0)
        except OSError as error:
            raise _from_os(error) from error
        for path in self.links:
            self._check_link(path)

    def _directory(self, fd: int, prefix: str, depth: int) -> Iterator[Source]:
        if depth > MAX_DEPTH:
            raise refused(f"{prefix} nests deeper than {MAX_DEPTH} directories", "flatten it")
        check_reader(self.reader, fd, prefix or "it", access.READ | access.ENTER)
        names = self._names(fd, prefix)
        if depth and "pyvenv.cfg" in names:  # a virtual environment by any name
            self.litter = True
            return
        found = False
        for name in names:
            for source in self._entry(fd, name, f"{prefix}{name}", depth):
                found = True
                yield source
        if not found and depth:
            self.litter = True

    def _names(self, fd: int, prefix: str) -> list[str]:
        names = []
        with os.scandir(fd) as listing:
            for entry in listing:
                self.entries += 1
                if self.entries > 2 * self.limits.max_files:
                    raise refused(
                        f"the bundle has more than {self.limits.max_files} files",
                        "leave out what is not source, or raise bundles.max_files",
                    )
                if excluded(entry.name):
                    self.litter = True
                    continue
                names.append(_utf8(entry.name, prefix))
        return sorted(names)

    def _entry(self, parent: int, name: str, path: str, depth: int) -> Iterator[Source]:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            fd = os.open(name, DIRECTORY, dir_fd=parent)
            try:
                self._directories.add(path)
                yield from self._directory(fd, f"{path}/", depth + 1)
            finally:
                os.close(fd)
        elif stat.S_ISREG(mode):
            yield from self._file(parent, name, path)
        elif stat.S_ISLNK(mode):
            target = os.readlink(name, dir_fd=parent)
            self.links[path] = _utf8(target, f"{path} -> ")
            self._count(path, len(target))
            yield Source(path, "l", -1, target)
        else:
            raise refused(f"{path} is a {_kind(mode)}, not a file", f"remove {path}")

    def _file(self, parent: int, name: str, path: str) -> Iterator[Source]:
        fd = os.open(name, REGULAR, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise refused(f"{path} became a {_kind(status.st_mode)} while it was read", "hand in files at rest")
            # A hard link can bring in a file that its maker could not read but we can.
            if status.st_nlink > 1 and status.st_uid != self.owner:
                raise refused(f"{path} is a hard link to another user's file", f"copy {path} instead of linking it")
            check_reader(self.reader, fd, path, access.READ)
            self._count(path, status.st_size)
            yield Source(path, "x" if status.st_mode & stat.S_IXUSR else "f", fd, "")
        finally:
            os.close(fd)

    def _count(self, path: str, size: int) -> None:
        self.files += 1
        if self.files > self.limits.max_files:
            raise refused(
                f"the bundle has more than {self.limits.max_files} files",
                "leave out what is not source, or raise bundles.max_files",
            )
        self.grow(path, size)

    def grow(self, path: str, size: int) -> None:
        """Count `size` bytes more; raise `BadInput` beyond the bound."""
        self.bytes += size
        if self.bytes > self.limits.max_bytes:
            raise refused(
                f"the bundle has more than {self.limits.max_bytes} bytes (at {path})",
                "leave out what is not source, or raise bundles.max_bytes",
            )

    def read(self, source: Source) -> Iterator[bytes]:
        """Yield the content of a file in pieces; what it has grown by since it was counted is counted too."""
        told, seen = os.fstat(source.fd).st_size, 0
        while piece := os.read(source.fd, CHUNK):
            seen += len(piece)
            if seen > told:
                self.grow(source.path, seen - told)
                told = seen
            yield piece

    def _check_link(self, path: str) -> None:
        """Resolve a symlink over the names that were found, never on the disk, so that nothing can race it."""
        parts, pending, hops = path.split("/")[:-1], self.links[path].split("/"), 1
        if self.links[path].startswith("/"):
            raise refused(f"{path} is a symlink to the absolute {self.links[path]}", "make it relative or remove it")
        while pending:
            part = pending.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                if not parts:
                    raise refused(f"{path} is a symlink that leaves the bundle", f"remove {path}")
                parts.pop()
                continue
            parts.append(part)
            if (target := self.links.get("/".join(parts))) is not None:
                hops += 1
                if hops > MAX_HOPS:
                    raise refused(f"{path} is a symlink that goes in circles", f"remove {path}")
                parts.pop()
                pending[:0] = target.split("/")


def _from_os(error: OSError) -> Exception:
    name = str(error.filename or "a file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return refused(f"{name} cannot be read: {error.strerror}", "let the service's user read the whole bundle")
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
        return refused(f"{name} changed while it was read: {error.strerror}", "hand in a directory that is at rest")
    if error.errno in TEMPORARY:
        return TemporaryFailure(f"{name} cannot be read now: {error.strerror}", fix="trying again later may help")
    return error


def _utf8(name: str, prefix: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = ascii(f"{prefix}{name}")
        raise refused(f"the name {shown} is not UTF-8", "rename it") from None
    if "\n" in name:
        raise refused(f"the name {prefix + name!a} holds a line feed", "rename it")
    return name


def _kind(mode: int) -> str:
    names = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}
    return names.get(stat.S_IFMT(mode), "special file")


def manifest(path: Path, limits: BundleLimits | None = None) -> Manifest:
    """Return every source of the directory at `path` with kind and content digest; raise `BadInput` as `walk` does."""
    fd = os.open(path, DIRECTORY)
    try:
        return digests(Walk(fd, limits or BundleLimits()))
    finally:
        os.close(fd)


def digests(walk: Walk) -> Manifest:
    """Return the manifest of what `walk` finds."""
    found: Manifest = {}
    for source in walk:
        digest = hashlib.sha256(source.target.encode())
        if source.kind != "l":
            for piece in walk.read(source):
                digest.update(piece)
        found[source.path] = (source.kind, digest.hexdigest())
    return found


def hash_manifest(found: Mapping[str, tuple[Kind, str]]) -> str:
    """Return the name of the tree that the manifest describes."""
    whole = hashlib.sha256(DOMAIN)
    for path, (kind, digest) in sorted(found.items(), key=lambda item: item[0].encode()):
        whole.update(b"%s\0%s\0%s" % (kind.encode(), path.encode(), bytes.fromhex(digest)))
    return whole.hexdigest()


def content_digest(content: bytes) -> str:
    """Return the digest that a manifest holds for this content."""
    return hashlib.sha256(content).hexdigest()


def hash_files(
    files: Mapping[str, bytes], *, executable: Collection[str] = (), links: Mapping[str, str] | None = None
) -> str:
    """Return the name of the tree with these contents (paths relative, `/` between); not sources are left out."""
    found: Manifest = {
        path: ("x" if path in executable else "f", content_digest(content)) for path, content in files.items()
    }
    found.update({path: ("l", content_digest(target.encode())) for path, target in (links or {}).items()})
    return hash_manifest({path: item for path, item in found.items() if not any(map(excluded, path.split("/")))})


def tree_hash(path: Path, limits: BundleLimits | None = None) -> str:
    """Return the name of the directory's sources: equal for a bundle and its snapshot, whatever caches lie beside."""
    return hash_manifest(manifest(path, limits))
