"""api: what a tier of the sandbox promises, whichever it is.

    with open_sandbox(settings).start(PROGRAM, limits=limits) as confined:
        confined.stream.send(b"question")
        answer = confined.stream.recv(timeout=5)

A tier gives a fresh confined process with a duplex stream of frames, an empty work directory and nothing else. The
program is Python source and travels over the stream, as do all files: no tier needs a directory that both sides see.
Every byte that comes out is untrusted; `Stream` bounds it, its meaning is the caller's to doubt.

Errors: `Unavailable` when the tier cannot start here at all, `TemporaryFailure` when it cannot just now,
`StreamClosed`, `StreamTimeout` and `FrameTooLarge` for what the confined side did.
"""

import functools
import marshal
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

from repairlab.errors import RepairLabError
from repairlab.sandbox import inside

DEFAULT_SEND_S = 30.0
OLD_MARSHAL = 2  # the version that any Python reads; of what comes out of a sandbox nothing is ever unmarshalled


class SandboxSettings(Protocol):
    """The section [sandbox] of the configuration."""

    @property
    def tier(self) -> str:
        """Which tier: auto, systemd, bubblewrap, landlock or none."""
        ...

    @property
    def memory_mb(self) -> int:
        """MiB of each process, and of all together."""
        ...

    @property
    def processes(self) -> int:
        """Processes and threads."""
        ...

    @property
    def tmpfs_mb(self) -> int:
        """MiB of the work directory."""
        ...

    @property
    def open_files(self) -> int:
        """Descriptors of each process."""
        ...

    @property
    def file_mb(self) -> int:
        """MiB of one file."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one confined process and its descendants may use.

    `memory_mb` bounds the address space of each process (kernel) and the memory of all together (looked at often);
    `cpu_s`, `open_files` and `file_mb` count a process, the rest the whole sandbox.
    """

    wall_s: float = 60.0
    cpu_s: int = 60
    memory_mb: int = 1024
    processes: int = 64
    open_files: int = 256
    tmpfs_mb: int = 256
    file_mb: int = 64

    @property
    def inodes(self) -> int:
        """Files that may exist at a time: an empty one costs about 1 KiB that no size bound of tmpfs counts."""
        return 20_000 + 256 * self.tmpfs_mb

    @classmethod
    def from_settings(cls, settings: SandboxSettings, *, wall_s: float, memory_mb: int | None = None) -> Self:
        """Return the configured limits for a run of `wall_s` seconds; a smaller `memory_mb` wins."""
        return cls(
            wall_s=wall_s,
            cpu_s=int(wall_s) + 1,
            memory_mb=min(memory_mb or settings.memory_mb, settings.memory_mb),
            processes=settings.processes,
            open_files=settings.open_files,
            tmpfs_mb=settings.tmpfs_mb,
            file_mb=settings.file_mb,
        )


class Why(StrEnum):
    """What ended a sandbox."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    KILLED = "killed"  # by its user, through `kill` or the end of the `with` block
    WALL = "wall_s"
    MEMORY = "memory_mb"
    INODES = "inodes"
    DISK = "tmpfs_mb"
    PROCESSES = "processes"
    LOST = "lost"  # by somebody outside: its keeper cannot say how


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sandbox ended: `code` the program's exit code where it exited, `signal` where one ended it."""

    why: Why
    code: int | None
    signal: int | None


class StreamError(RepairLabError):
    """The confined side broke the stream."""


class StreamClosed(StreamError):
    """The confined side has closed, most often by ending; `Confined.wait` says how."""


class StreamTimeout(StreamError):
    """Nothing complete came in time; what has come of a frame is kept for the next call."""


class FrameTooLarge(StreamError):
    """The confined side announces a frame beyond the bound; the stream is of no further use."""


class Stream:
    """The host's end: frames with deadlines and bounds."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._buffer = bytearray()
        self.told = b""  # what the boot inside has said of itself

    def fileno(self) -> int:
        """The descriptor, to be waited on; after it turned readable a frame may still be incomplete."""
        return self._socket.fileno()

    def send(self, payload: bytes, *, timeout: float = DEFAULT_SEND_S) -> None:
        """Send one frame."""
        if len(payload) > inside.MAX_FRAME:
            raise ValueError(f"a frame of {len(payload)} bytes: send files with send_files")
        deadline = time.monotonic() + timeout
        for part in (struct.pack(">I", len(payload)), payload):
            self._write(memoryview(part), deadline)

    def _write(self, view: memoryview, deadline: float) -> None:
        while view:
            try:
                view = view[self._socket.send(view, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except (BrokenPipeError, ConnectionResetError):
                raise StreamClosed("the sandbox has closed its stream") from None

    def recv(self, timeout: float, *, max_bytes: int = inside.MAX_FRAME) -> bytes:
        """Return the next frame."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self._buffer) >= 4:
                (length,) = struct.unpack_from(">I", self._buffer)
                if length > max_bytes:
                    raise FrameTooLarge(f"the sandbox announces a frame of {length} bytes, the bound is {max_bytes}")
                if len(self._buffer) >= 4 + length:
                    frame = bytes(memoryview(self._buffer)[4 : 4 + length])
                    del self._buffer[: 4 + length]
                    return frame
            self._read(deadline)

    def _read(self, deadline: float) -> None:
        self._wait(select.POLLIN, deadline)
        try:
            piece = self._socket.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionResetError:
            piece = b""
        if not piece:
            raise StreamClosed("the sandbox has closed its stream")
        self._buffer += piece

    def _wait(self, what: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, what)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise StreamTimeout("the sandbox did not answer in time")

    def send_files(self, entries: Iterable[tuple[str, str, bytes]], *, timeout: float = DEFAULT_SEND_S) -> None:
        """Send (path, kind `f`, `x` or `l`, content) entries to `recv_files` inside."""
        deadline = time.monotonic() + timeout
        for frame in inside.pack(entries):
            self.send(frame, timeout=deadline - time.monotonic())

    def recv_files(self, timeout: float, *, max_files: int = 1000, max_bytes: int = 1 << 24) -> dict[str, bytes]:
        """Return the files that `send_files` inside sends, path → content: plain relative paths, no symlinks."""
        deadline = time.monotonic() + timeout
        files: dict[str, bytes] = {}
        size = 0
        while frame := self.recv(deadline - time.monotonic(), max_bytes=max_bytes):
            size += len(frame)
            try:
                for path, kind, content in inside.unpack(frame):
                    if kind == "l" or path in files:
                        raise StreamError(f"the sandbox sends {path!r} as a symlink or twice")
                    files[path] = content
            except inside.FrameError as error:
                raise StreamError(f"the sandbox sends no files: {error}") from None
            if len(files) > max_files or size > max_bytes:
                raise FrameTooLarge(f"the sandbox sends more than {max_files} files or {max_bytes} bytes")
        return files

    def close(self) -> None:
        """Close this end; the confined side reads an end of file."""
        self._socket.close()


class Keeper(Protocol):
    """What stands behind a confined process and ends it."""

    ended: threading.Event

    def end(self, why: Why) -> None:
        """Have everything killed; `ended` is set when it is gone."""
        ...

    def outcome(self) -> Ended:
        """How it ended, once `ended` is set."""
        ...

    def tail(self) -> bytes:
        """The last of what was written to stdout and stderr."""
        ...


class Confined:
    """A running sandbox. Leaving the `with` block kills all that is left of it and waits until it is gone."""

    def __init__(self, stream: Stream, keeper: Keeper) -> None:
        self.stream = stream
        self._keeper = keeper

    def stderr_tail(self) -> bytes:
        """The last 64 KiB of what was written to stdout and stderr inside."""
        return self._keeper.tail()

    def wait(self, timeout: float | None = None) -> Ended | None:
        """Return how it ended, with every process inside gone; None if it still runs after `timeout` seconds."""
        if not self._keeper.ended.wait(timeout):
            return None
        return self._keeper.outcome()

    def dismiss(self) -> None:
        """Have every process inside ended, and go on: it takes the kernel some milliseconds. `kill` waits for it."""
        self._keeper.end(Why.KILLED)

    def kill(self) -> Ended:
        """End every process inside now and return how it ended (as it was, if it had ended before)."""
        self._keeper.end(Why.KILLED)
        self._keeper.ended.wait()
        return self._keeper.outcome()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.stream.close()


class Sandbox(Protocol):
    """A tier that works here."""

    tier: str

    def start(
        self,
        program: bytes | str,
        *,
        python: str | None = None,
        limits: SandboxLimits | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "<program>",
    ) -> Confined:
        """Start `program` (Python source) under the interpreter `python`, by default our own.

        `env` is added to the fixed environment inside. Raise `BadInput` for an interpreter that may not be used,
        `TemporaryFailure` or `Unavailable` when the process cannot be started.
        """
        ...


FIXED_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/work",
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "TMPDIR": "/tmp",  # noqa: S108  a private one
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",  # the same candidate must fail the same way twice
    "PYTHONDONTWRITEBYTECODE": "1",  # a stale .pyc of the candidate before, with the same second and size, would run
}


def boot_argv(python: str, fd: int) -> list[str]:
    """Return the command that runs inside; see `inside`."""
    return [python, "-s", "-S", "-c", inside.LOADER, str(fd)]


def boot(stream: Stream, order: Mapping[str, object], timeout: float) -> bytes:
    """Return what the boot inside says once it stands, with its limits on, and waits for the program."""
    deadline = time.monotonic() + timeout
    for frame in (*_loaded(), marshal.dumps({"landlock": None, **order}, OLD_MARSHAL)):
        stream.send(frame, timeout=deadline - time.monotonic())
    stream.told = stream.recv(deadline - time.monotonic(), max_bytes=1024)
    return stream.told


def prepare(program: bytes | str, name: str) -> None:
    """Compile what every start of this program sends, once for all forks of this process."""
    _loaded()
    compiled(program, name)


@functools.cache
def _loaded() -> tuple[bytes, bytes, bytes]:
    """Return what the loader takes: the Python that the byte code is for, the byte code, the source for any other."""
    source = Path(inside.__file__).read_bytes()
    return sys.version.encode(), compiled(source, "<inside>").removeprefix(inside.COMPILED), source


def send_program(stream: Stream, told: bytes, program: bytes | str, name: object) -> None:
    """Send the program to a boot that stands and has said `told`: compiled where it is the very Python that we are.

    A program that takes more of itself from the stream reads it with `inside.loaded`.
    """
    if told == inside.READY + sys.version.encode():
        stream.send(compiled(program, str(name)))
    else:
        stream.send(program.encode() if isinstance(program, str) else program)


@functools.lru_cache(maxsize=8)
def compiled(program: bytes | str, name: str) -> bytes:
    """Return byte code of the program as `inside` takes it; a warm parent compiles once for all of its workers."""
    return inside.COMPILED + marshal.dumps(compile(program, name, "exec", dont_inherit=True, optimize=0))


def rlimits(limits: SandboxLimits) -> dict[str, int]:
    """Return the resource limits that every tier sets, by the names of setrlimit(2)."""
    return {
        "AS": limits.memory_mb << 20,
        "CPU": limits.cpu_s,
        "NOFILE": limits.open_files,
        "FSIZE": limits.file_mb << 20,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }


def socket_pair() -> tuple[Stream, socket.socket]:
    """Return the host's stream and the socket for the inside, whose descriptor is none of 0, 1, 2."""
    ours, theirs = socket.socketpair()
    while theirs.fileno() < 3:
        theirs = socket.socket(fileno=os.dup(theirs.detach()))
    return Stream(ours), theirs
