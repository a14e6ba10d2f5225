"""keeper: the thread that watches one sandbox from outside and ends it when it has had enough.

The kernel's per-process limits do not bound a tree of processes, so twice a tick the keeper adds up what the members
of the sandbox hold. Resident sizes count a page as often as it is shared, and a fork server shares nearly all of its
pages: only when they pass the bound are the proportional sizes asked for, which cost a walk of the page tables.

It also enforces the wall clock, reads what is written to stdout and stderr (the last 64 KiB are kept; beyond some MB/s
the writer waits) and is the only one that reaps the process: `ended` is set when nothing of the sandbox is left.
"""

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from typing import Protocol

from repairlab.sandbox.api import Ended, SandboxLimits, Why

TICK_S = 0.05
TAIL_BYTES = 1 << 16
BYTES_PER_TICK = 1 << 18
PAGE = os.sysconf("SC_PAGE_SIZE")


class Members(Protocol):
    """Sees and ends the processes of one sandbox."""

    def statuses(self) -> list[tuple[int, int]]:
        """Return (directory descriptor of a /proc, pid in it) of each living member; the descriptor stays open."""
        ...

    def inodes(self) -> int:
        """Return the number of files on the sandbox's own file systems."""
        ...

    def end(self) -> None:
        """Kill every member; return when none is left (but for the process that we must reap ourselves)."""
        ...

    def close(self) -> None:
        """Forget the sandbox, once its process is reaped."""
        ...


class ProcessKeeper:
    """Keeps the sandbox that `process` is the outermost process of."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", output: int, members: Members, limits: SandboxLimits
    ) -> None:
        self.ended = threading.Event()
        self._process = process
        self._output = output
        self._members = members
        self._limits = limits
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._why: Why | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="sandbox-keeper", daemon=True)

    def watch(self) -> None:
        """Start watching; from now on `ended` will be set."""
        self._thread.start()

    def end(self, why: Why) -> None:
        """Have the sandbox killed; the first reason stands."""
        with self._lock:
            if self.ended.is_set():
                return
            self._why = self._why or why
            os.eventfd_write(self._wake, 1)

    def tail(self) -> bytes:
        """Return the last of what was written to stdout and stderr."""
        with self._lock:
            return bytes(self._tail)

    def outcome(self) -> Ended:
        """Return how the sandbox ended, once `ended` is set."""
        self._thread.join()
        status = self._process.returncode
        if self._why is not None:
            return Ended(self._why, None, signal.SIGKILL)
        if status is None or status < 0:
            return Ended(Why.SIGNALLED, None, -status if status else signal.SIGKILL)
        if status > 128:  # as shells do, bubblewrap says "128 + signal" for what ended its child
            return Ended(Why.SIGNALLED, None, status - 128)
        return Ended(Why.EXITED, status, None)

    def _run(self) -> None:
        handle = os.pidfd_open(self._process.pid)
        try:
            self._watch(handle)
        finally:
            self._members.end()
            self._process.wait()
            self._drain()
            self._members.close()
            with self._lock:
                for fd in (handle, self._output, self._wake):
                    os.close(fd)
                self.ended.set()

    def _watch(self, handle: int) -> None:
        """Return when the process has ended or has to be ended."""
        deadline = time.monotonic() + self._limits.wall_s
        poll = select.poll()
        for fd in (handle, self._wake, self._output):
            poll.register(fd, select.POLLIN)
        allowance, tick = BYTES_PER_TICK, time.monotonic() + TICK_S
        while True:
            now = time.monotonic()
            if now >= tick:
                if (why := self._excess(now, deadline)) is not None:
                    self.end(why)
                    return
                allowance, tick = BYTES_PER_TICK, now + TICK_S
                poll.register(self._output, select.POLLIN)
            events = dict(poll.poll(max(0.0, min(tick, deadline) - now) * 1000 + 1))
            if handle in events or self._wake in events:
                return
            if self._output in events:
                allowance -= self._read(allowance)
                if allowance <= 0 or events[self._output] & select.POLLHUP:
                    poll.unregister(self._output)

    def _excess(self, now: float, deadline: float) -> Why | None:
        if now >= deadline:
            return Why.WALL
        bound = self._limits.memory_mb << 20
        members = self._members.statuses()
        if all(sum(measure(*member) for member in members) > bound for measure in (resident, proportional)):
            return Why.MEMORY
        return Why.INODES if self._members.inodes() > self._limits.inodes else None

    def _read(self, count: int) -> int:
        try:
            piece = os.read(self._output, min(count, 1 << 16))
        except BlockingIOError:
            return 0
        with self._lock:
            self._tail += piece
            del self._tail[:-TAIL_BYTES]
        return len(piece)

    def _drain(self) -> None:
        """Take what the dead have left in the pipe (its capacity at most)."""
        while self._read(1 << 16):
            pass


def resident(proc: int, pid: int) -> int:
    """Return the resident bytes of a process, 0 if it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(_text(proc, f"{pid}/statm").split()[1]) * PAGE
    return 0


def proportional(proc: int, pid: int) -> int:
    """Return the bytes of a process with shared pages divided among their users; resident where that is hidden."""
    with contextlib.suppress(OSError):
        for line in _text(proc, f"{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    return resident(proc, pid)


def _text(proc: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def pids(proc: int) -> list[tuple[int, int]]:
    """Return every process that the /proc directory `proc` shows."""
    try:
        return [(proc, int(name)) for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return []
