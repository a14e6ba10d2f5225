"""inside: the first thing that runs in a sandbox, and what a confined program finds in its own namespace.

    python -s -S -c LOADER FD

FD is one end of a stream socket, over which the loader has taken this file: as byte code where this is the host's own
Python, else as source. It takes away what the kernel gives every process (resources, a place in the queue of the OOM
killer, files by landlock), says "ready" and which Python it is, takes the program from the stream, in the same two
ways, and becomes it: the program runs in this very namespace, as `__main__`, with `stream` connected, the work
directory as its current one, and the functions below. Nothing but the stream leads out, so the same boot serves a tier
that shares no file.

Stdlib only, Python 3.8 at the oldest, and little of that: somebody waits for each import. The host uses the same
functions for its side of the wire:

    frame   4 bytes big-endian length, then the payload; at most MAX_FRAME bytes
    files   frames of entries (kind f, x executable or l symlink; two lengths; path; content), ended by an empty frame

A program that forks for untrusted code calls `seal()` before, and `stream.close()` in the child: then the child can
neither write to the stream nor take it from its parent.
"""

import marshal
import os
import struct
import sys

TYPE_CHECKING = False  # as typing has it, whose import takes 10 ms
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, List, Tuple

    Entry = Tuple[str, str, bytes]  # path, kind, content

LOADER = """import marshal, os, sys
def exactly(n, s=b""):
    while len(s) < n: s += os.read(int(sys.argv[1]), n - len(s)) or sys.exit("closed before the boot")
    return s
def itself():
    known, code, source = (exactly(int.from_bytes(exactly(4), "big")) for _ in range(3))
    if known == sys.version.encode(): return marshal.loads(code)
    return compile(source, "<inside>", "exec", dont_inherit=True)
exec(itself())"""
READY = b"ready "  # then sys.version: what is the same there has the same byte code
COMPILED = b"\0"  # no source text begins so
MAX_FRAME = 1 << 26
# landlock(7): system calls (the same on every architecture), rights, the ABI from which on there is …
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, MAKE_CHAR, MAKE_BLOCK, TRUNCATE = 1, 2, 4, 8, 1 << 6, 1 << 11, 1 << 14
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
HANDLED = (1 << 15) - 1  # all but ioctl on devices, which terminals need
SCOPES = 3  # abstract unix sockets, signals
LEAST_ABI, TRUNCATE_ABI, SCOPE_ABI = 2, 3, 6  # … renaming into another directory; truncation; scopes
BATCH = 1 << 20
ENTRY = struct.Struct(">cIQ")


class FrameError(Exception):
    """What came is not a frame, or not the files that frames of files hold."""


class Stream:
    """Frames over a blocking descriptor; for the inside, where nothing waits but the program itself."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """The descriptor, to be waited on."""
        return self.fd

    def send(self, payload: bytes) -> None:
        """Write one frame."""
        if len(payload) > MAX_FRAME:
            raise FrameError("a frame of %d bytes is too large" % len(payload))
        view = memoryview(struct.pack(">I", len(payload)) + bytes(payload))
        while view:
            view = view[os.write(self.fd, view) :]

    def recv(self) -> bytes:
        """Return the next frame; EOFError when the host has closed."""
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > MAX_FRAME:
            raise FrameError("a frame of %d bytes is too large" % length)
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            piece = os.read(self.fd, min(count, BATCH))
            if not piece:
                raise EOFError("the host has closed the stream")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close this end."""
        os.close(self.fd)


def checked_path(path: str) -> str:
    """Return a path that stays below where it is joined to; FrameError for any other."""
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts) or len(path) > 4096:
        raise FrameError("the path %r does not stay inside" % path)
    return path


def pack(entries: "Iterable[Entry]") -> "Iterator[bytes]":
    """Yield frames for (path, kind, content) entries; the last one is empty."""
    batch: List[bytes] = []
    size = 0
    for path, kind, content in entries:
        name = checked_path(path).encode()
        entry = ENTRY.pack(kind.encode(), len(name), len(content)) + name + content
        if batch and size + len(entry) > BATCH:
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(entry)
        size += len(entry)
    if batch:
        yield b"".join(batch)
    yield b""


def unpack(frame: bytes) -> "Iterator[Entry]":
    """Yield the (path, kind, content) entries of one frame; FrameError for anything else."""
    at = 0
    while at < len(frame):
        if len(frame) - at < ENTRY.size:
            raise FrameError("an entry is cut off")
        kind, named, sized = ENTRY.unpack_from(frame, at)
        at += ENTRY.size
        if kind not in (b"f", b"x", b"l") or named > 4096 or len(frame) - at < named + sized:
            raise FrameError("an entry is no file")
        try:
            path = checked_path(frame[at : at + named].decode())
        except UnicodeDecodeError:
            raise FrameError("a path is not UTF-8") from None
        at += named
        yield path, kind.decode(), frame[at : at + sized]
        at += sized


def send_files(stream: Stream, entries: "Iterable[Entry]") -> None:
    """Send (path, kind, content) entries to the other side's `recv_files`."""
    for frame in pack(entries):
        stream.send(frame)


def recv_files(stream: Stream, root: str = ".") -> int:
    """Write the files that the host sends below `root`, which must be fresh; return their number."""
    links: List[Tuple[str, str]] = []
    count = 0
    while True:
        frame = stream.recv()
        if not frame:
            break
        for path, kind, content in unpack(frame):
            count += 1
            target = os.path.join(root, path)
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            if kind == "l":
                links.append((content.decode(), target))
                continue
            mode = 0o755 if kind == "x" else 0o644
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with open(fd, "wb") as file:
                file.write(content)
    for points_to, target in links:  # last, so that no file is written through one
        os.symlink(points_to, target)
    return count


def read_files(root: str, paths: "Iterable[str]") -> "Iterator[Entry]":
    """Yield (path, kind, content) of regular files below `root`, for `send_files`."""
    for path in paths:
        fd = os.open(os.path.join(root, checked_path(path)), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            yield path, "f", file.read(MAX_FRAME)


def seal() -> None:
    """Forbid processes of the same user to look into this one (ptrace, pidfd_getfd); forks inherit it."""
    _prctl(4, 0)  # PR_SET_DUMPABLE


def landlock_abi() -> int:
    """Return the ABI of the kernel's landlock, 0 for none."""
    import ctypes

    return max(0, _landlock(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def restrict(read: "Iterable[str]", write: "Iterable[str]") -> int:
    """Allow reading and executing below `read`, everything but devices below `write`; return landlock's ABI.

    From ABI 6 on, signals to processes outside and abstract sockets of others are taken away too. A process outside can
    be neither traced nor looked into, whoever owns it. Layers add up, forks inherit them, and there is no way back.
    Paths that do not exist allow nothing. Needs one thread; raises OSError where the kernel has no landlock.
    """
    import ctypes

    abi = landlock_abi()
    if abi < LEAST_ABI:
        raise OSError("the kernel's landlock has ABI %d, needed is %d" % (abi, LEAST_ABI))
    handled = HANDLED if abi >= TRUNCATE_ABI else HANDLED & ~TRUNCATE
    attributes = struct.pack("=QQQ", handled, 0, SCOPES)[: 24 if abi >= SCOPE_ABI else 8]
    none = ctypes.c_uint32(0)
    ruleset = _landlock(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), none)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for path in read:
        _allow(ruleset, path, (EXECUTE | READ_FILE | READ_DIR) & handled)
    for path in write:
        _allow(ruleset, path, handled & ~(MAKE_CHAR | MAKE_BLOCK))
    _prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    if _landlock(RESTRICT_SELF, ctypes.c_int(ruleset), none) < 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    import ctypes
    import stat

    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        rights &= OF_A_FILE
    rule = struct.pack("=Qi", rights, fd)
    if _landlock(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0)) < 0:  # 1: PATH_BENEATH
        raise OSError(ctypes.get_errno(), "landlock_add_rule", path)
    os.close(fd)


def _landlock(number: int, *arguments: "Any") -> int:
    import ctypes

    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))


def _prctl(option: int, value: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(%d)" % option)


def _limit(limits: "Any") -> None:
    """Lower the hard limits: without CAP_SYS_RESOURCE over the machine nobody in here can raise them again."""
    import resource

    for name, value in limits.items():
        which = getattr(resource, "RLIMIT_" + name)
        _, hard = resource.getrlimit(which)
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (lower, lower))


def loaded(program: bytes, name: str) -> "Any":
    """Return the code of a program, or of more of it, as the host's `send_program` sends it."""
    if program[:1] == COMPILED:
        return marshal.loads(program[1:])  # noqa: S302  from the host, for the very same Python
    return compile(program, name, "exec", dont_inherit=True)


def _boot() -> "Tuple[Stream, bytes, str]":
    import time

    stream = Stream(int(sys.argv[1]))
    os.set_inheritable(stream.fd, False)
    order = marshal.loads(stream.recv())  # noqa: S302  from the host, in the version that every Python reads
    if order["parent"]:  # the tier without a PID namespace: die with the host's process, also if it died just now
        _prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != order["parent"]:
            os._exit(1)
    _limit(order["limits"])
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:  # whoever confined us has done it, and closed it
        pass
    if order["landlock"] and landlock_abi() >= LEAST_ABI:
        restrict(*order["landlock"])
    os.umask(0o077)
    os.environ.update(order["env"])
    time.tzset()
    sys.argv = [order["name"]]
    sys.path[:] = [path for path in sys.path if path]  # `-c` puts the work directory first: the bundle's json.py
    import site

    site.main()  # `-S` kept the interpreter's own packages out until the limits stood
    stream.send(READY + sys.version.encode())
    return stream, stream.recv(), order["name"]


if __name__ == "__main__":
    stream, _program, _name = _boot()
    exec(loaded(_program, _name), globals())  # noqa: S102  running what the host sent is its purpose
