"""journal: what the programs say about themselves, to the journal and to the service manager.

Every event that an operator may want to search for has a fixed MESSAGE_ID (`Event`), explained in
systemd/repairlab.catalog and found with `journalctl MESSAGE_ID=…`. Events of a job carry JOB_ID, LINEAGE, OUTCOME and
ATTEMPT. This is the only module that configures logging.

Where it goes, decided once by `configure`:

    systemd-python   stderr is the journal and the package is installed
    native           stderr is the journal: the journal's own datagram protocol, spoken here
    stderr           stderr is anything else: one readable line an event, control characters escaped

Files: /run/systemd/journal/socket, $NOTIFY_SOCKET (also an abstract one).

Guarantees: no call blocks or raises because the journal is slow, full or gone. An entry that the journal cannot take
is dropped, and the next one that it takes carries REPAIRLAB_DROPPED=<count>. (systemd-python's own send,
and a stderr that nobody reads, may block.)

Sources: systemd's JOURNAL_NATIVE_PROTOCOL.md, sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5) ($JOURNAL_STREAM).
"""

import errno
import fcntl
import importlib
import logging
import os
import socket
import struct
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import IO, Protocol

SOCKET = "/run/systemd/journal/socket"
SEND_BUFFER = 8 << 20  # what sd_journal_send asks for: a burst of entries is queued, not refused
SHOWN_FIELDS = ("JOB_ID", "ATTEMPT", "OUTCOME", "LINEAGE")


class Event(StrEnum):
    """The MESSAGE_ID of everything that an operator may search for; never change one, never use one twice."""

    WATCHER_READY = "6f84cdae11264edeb4aae2ca1c9ee4cf"
    WATCHER_RELOADED = "ebd2b9c6d33d414cabe647307dbccb85"
    WATCHER_STOPPING = "9db04ead815b4e7681fa6f5957674a8e"
    WATCHER_DEGRADED = "9ca497b77043478d9511ae09ced55ee5"
    WATCHER_PAUSED = "871a679db3ed4921a8a5207b64a1119c"
    WATCHER_RESUMED = "1c4a5607801941c1a477adfd90a7f85b"
    WORKERS_LOST = "d9cad6331558410bbe5a811347107883"
    JOB_CLAIMED = "18740f16180649688466efa2c64b173b"
    JOB_STARTED = "4b7ba87b2fde4853a97a253665636c10"
    JOB_REPAIRED = "4ab435260adc49f682181e42590e8781"
    JOB_NOOP = "b85ed7e0817549718c467413911c6832"
    JOB_FAILED = "b230d10ff5df4c9abab1e202b7c1de6f"
    JOB_CRASHED = "884e9fcf776149aaa11470f3b8426707"
    JOB_QUARANTINED = "3ca687ac8525401ca484222cc3cf2020"
    JOB_REJECTED = "f903eb98b59e4304abddf75387cd6a49"
    JOB_DEFERRED = "3e5372b9fa7249f0a5b5d69ec309a13a"
    JOB_HANDED_BACK = "ea73504d64a64a98a30f9566e646ba8d"
    JOB_DUPLICATE = "b820837fb3d94bbf9d700cf60e9146a0"
    JOB_RECOVERED = "fa24747608c64925a9b0172d240e7381"
    JOB_SUBMITTED = "c193a11434f34cd19f53e68d8ba731c5"
    JOB_HELD = "48030aa107a34b54adf2fd186844c50c"
    JOB_RELEASED = "0d6119e6a3fa4aceb81c7fdb0be89460"
    JOB_RETRIED = "8b885696e5394644b9ad1d5b057bceb6"
    JOB_DROPPED = "2ec55ac7050b4ef8a764750fdb523b76"
    SPOOL_DAMAGED = "fb985c668f194ed78ac72e1f33b58f6b"
    CLEANUP_DONE = "5a3d0d65b4b14e699ec13cbfa96b21b8"
    UNIT_ESCALATED = "412cbefc3c8142729202e331bd03f3ec"
    CHALLENGER_EVALUATED = "87521791d55a4656a28b4a44deefb586"
    CHALLENGER_PROMOTED = "2dbdc2af302f41eba3a109c67ab1e68a"
    CHAMPION_DEMOTED = "741769c612bc460fb1a25d8e1ca8173b"
    PATTERNS_EXTRACTED = "7d956afc57e24823b8da379d114f0617"
    TOOL_MADE = "cd127ead6c1743fb9a8f79f0a9d9583a"


class Priority(IntEnum):
    """syslog's levels, as PRIORITY= wants them."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


Fields = Mapping[str, str]


class Backend(Protocol):
    """Somewhere that entries go. `send` neither blocks for long nor raises because the receiver is away."""

    name: str

    def send(self, fields: Fields) -> None:
        """Hand on one entry; its keys are valid journal field names."""


def serialized(fields: Fields) -> bytes:
    """Return one entry in the native protocol; a value with a line break takes the length-prefixed form."""
    parts = []
    for key, value in fields.items():
        raw = value.encode("utf-8", "surrogateescape")
        if b"\n" in raw:
            parts.append(key.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n")
        else:
            parts.append(key.encode() + b"=" + raw + b"\n")
    return b"".join(parts)


class Native:
    """The journal's datagram socket; an entry too large for a datagram travels as a sealed memory file."""

    name = "native"

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._dropped = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def send(self, fields: Fields) -> None:
        """Send or drop; a drop is told with the next entry that gets through."""
        if self._dropped:
            fields = {**fields, "REPAIRLAB_DROPPED": str(self._dropped)}
        try:
            self._send(serialized(fields))
        except OSError:  # journald restarts, its queue is full, no memory for a file: never a reason to stop the queue
            self._dropped += 1
        else:
            self._dropped = 0

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._path)
        except OSError as error:
            # ENOBUFS is what a datagram beyond wmem_max gets on some kernels, EMSGSIZE on the others.
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_file(datagram)

    def _send_file(self, datagram: bytes) -> None:
        fd = os.memfd_create("repairlab-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(datagram)
            # journald maps the file only once nobody can change or shrink it under its feet.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))
            self._socket.sendmsg([b""], [rights], 0, self._path)
        finally:
            os.close(fd)


class SystemdPython:
    """The systemd-python package; same entries, sent by libsystemd."""

    name = "systemd-python"

    def __init__(self) -> None:
        self._sendv: Callable[..., None] = importlib.import_module("systemd.journal").sendv

    def send(self, fields: Fields) -> None:
        """Send or drop."""
        try:
            self._sendv(*(f"{key}={value}".encode("utf-8", "surrogateescape") for key, value in fields.items()))
        except OSError:
            return


class Lines:
    """One readable line an entry on a stream that a person or a pipe reads."""

    name = "stderr"

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream

    def send(self, fields: Fields) -> None:
        """Write one line; a reader that went away or cannot show a character is no reason to fail."""
        stream = self._stream or sys.stderr
        try:
            stream.write(line(fields) + "\n")
            stream.flush()
        except (OSError, ValueError):
            return


def line(fields: Fields) -> str:
    """Return the entry as one line. What a producer wrote cannot forge a second line nor drive a terminal."""
    told = " ".join(f"{key}={fields[key]}" for key in SHOWN_FIELDS if fields.get(key))
    text = f"{fields['SYSLOG_IDENTIFIER']}: {fields['MESSAGE']}" + (f" [{told}]" if told else "")
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether our stderr is the stream that the service manager connected to the journal."""
    try:
        device, _, inode = environ["JOURNAL_STREAM"].partition(":")
        status = os.fstat(2)
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (KeyError, ValueError, OSError):
        return False


def choose(*, to_journal: bool) -> Backend:
    """Return the best backend that this installation has."""
    if not to_journal:
        return Lines()
    try:
        return SystemdPython()
    except ImportError:
        return Native()


def installed() -> str:
    """Return which backend speaks to the journal on this installation, whatever stderr is now."""
    return choose(to_journal=True).name


class _State:
    backend: Backend = Lines()
    program = os.path.basename(sys.argv[0]) or "repairlab"


def configure(
    program: str, backend: Backend | None = None, *, level: int = logging.WARNING, quiet: Sequence[str] = ()
) -> None:
    """Name this program in every entry, choose the backend, and route what libraries log (from `level`) there.

    Loggers in `quiet` are heard from CRITICAL on only.
    """
    _State.program = program
    _State.backend = backend or choose(to_journal=stderr_is_journal())
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(level)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def backend() -> str:
    """Return the name of the backend in use."""
    return _State.backend.name


def event(kind: Event, message: str, *, priority: Priority = Priority.INFO, **fields: object) -> None:
    """Write one entry of a known kind. Fields that are None are left out; the others become text."""
    _send(message, priority, {"MESSAGE_ID": kind.value, **_texts(fields)})


def say(message: str, *, priority: Priority = Priority.INFO, **fields: object) -> None:
    """Write one entry of no particular kind."""
    _send(message, priority, _texts(fields))


def _texts(fields: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in fields.items() if value is not None}


def _send(message: str, priority: Priority, fields: Fields) -> None:
    head = {"MESSAGE": message, "PRIORITY": str(int(priority)), "SYSLOG_IDENTIFIER": _State.program}
    _State.backend.send({**head, **fields})


class _Handler(logging.Handler):
    """Entries of the libraries' loggers."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)
        except Exception:  # a library's bad format string must not end a watcher
            message = str(record.msg)
        level = Priority.ERROR if record.levelno >= logging.ERROR else Priority.WARNING
        say(message, priority=level if record.levelno >= logging.WARNING else Priority.INFO, LOGGER=record.name)


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell the service manager `state` (READY=1, STATUS=…, lines joined by \\n); return whether anyone was told."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    # A leading @ stands for the NUL that marks Linux's abstract namespace.
    target = "\0" + address[1:] if address[0] == "@" else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(state.encode("utf-8", "backslashreplace"), target)  # a name that is not UTF-8 must not raise
        except OSError:
            return False
    return True


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often, in seconds, WATCHDOG=1 is due (half the limit), or None when nobody waits for it."""
    try:
        limit_us = int(environ["WATCHDOG_USEC"])
        addressee = int(environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    # Inherited by a child, the variables speak of its parent.
    return limit_us / 2e6 if limit_us > 0 and addressee == os.getpid() else None


def monotonic_us() -> int:
    """Return CLOCK_MONOTONIC in µs, as RELOADING=1 must carry it for Type=notify-reload."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
