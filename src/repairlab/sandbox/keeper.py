"""keeper: the thread that watches one sandbox from outside and ends it when it has had enough.

The kernel's per-process limits do not bound a tree of processes, so each tick the keeper adds up what the members of
the sandbox hold, where the tier does not do that itself. It enforces the wall clock, reads what is written to stdout
and stderr (the last 64 KiB are kept; beyond some MB/s the writer waits) and is the only one that sees the sandbox to
its end: `ended` is set when nothing of it is left.
"""

import os
import select
import signal
import threading
import time
from typing import Protocol

from repairlab.sandbox.api import Ended, SandboxLimits, Why
from repairlab.sandbox.processes import Member, beyond

TICK_S = 0.05
TAIL_BYTES = 1 << 16
BYTES_PER_TICK = 1 << 18


class Members(Protocol):
    """Sees and ends the processes of one sandbox."""

    def fileno(self) -> int:
        """Return a descriptor that turns readable when the sandbox has ended by itself."""
        ...

    def statuses(self) -> list[Member]:
        """Return each living member; none where somebody else bounds what they hold."""
        ...

    def inodes(self) -> int:
        """Return the number of files on the sandbox's own file systems."""
        ...

    def end(self) -> Ended:
        """Kill every member and return, when none is left, how the program ended."""
        ...

    def close(self) -> None:
        """Forget the sandbox."""
        ...


class SandboxKeeper:
    """Keeps the sandbox that `members` are the processes of; `output` is what they write to stdout and stderr."""

    def __init__(self, output: int, members: Members, limits: SandboxLimits) -> None:
        self.ended = threading.Event()
        self._output = output
        self._members = members
        self._limits = limits
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._why: Why | None = None
        self._outcome = Ended(Why.SIGNALLED, None, signal.SIGKILL)
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
        if self._why is not None:
            return Ended(self._why, None, signal.SIGKILL)
        return self._outcome

    def _run(self) -> None:
        try:
            self._watch(self._members.fileno())
        finally:
            try:
                self._outcome = self._members.end()
                self._drain()
                self._members.close()
            finally:  # nobody waits for ever
                with self._lock:
                    for fd in (self._output, self._wake):
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
        if beyond(self._members.statuses(), self._limits.memory_mb << 20):
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


def ended(status: int) -> Ended:
    """Return how a process of this return code (as subprocess has it) ended."""
    if status < 0:
        return Ended(Why.SIGNALLED, None, -status)
    if status > 128:  # as shells do, bubblewrap says "128 + signal" for what ended its child
        return Ended(Why.SIGNALLED, None, status - 128)
    return Ended(Why.EXITED, status, None)
