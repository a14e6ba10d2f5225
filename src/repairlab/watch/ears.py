"""watch.ears: everything that can wake the watcher: names in the queue, ends of workers, signals.

Without inotify, or when a watched directory vanished, the watcher says so once, lives on the rescan and tries again
every minute. The directories are made again where somebody removed them.
"""

import os
import selectors
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

from repairlab import journal
from repairlab.journal import Event, Priority
from repairlab.spool import Spool
from repairlab.spool.hints import Hints
from repairlab.watch.workers import Workers

AGAIN_S = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ears:
    """The selector's sources. `open` changes the process's signal handlers, `close` puts them back.

    Listens to the first of the spools, and makes the directories of all.
    """

    def __init__(self, selector: selectors.BaseSelector, *spools: Spool) -> None:
        self._selector = selector
        self._spools = spools
        self._doubt = False
        self._heard: list[int] = []
        self._hints: Hints | None = None
        self._again_at = float("-inf")
        self._degraded = False
        self._before: dict[signal.Signals, Any] = {}
        self._read, self._write = socket.socketpair()
        self._workers_heard = (-1, 0)

    def open(self, now: float) -> None:
        """Begin to listen."""
        for end in (self._read, self._write):
            end.setblocking(False)
        self._selector.register(self._read, selectors.EVENT_READ)
        # The C handler writes the number before any Python code runs: no signal falls between two turns.
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _nothing) for number in SIGNALS}
        self._listen(now)

    def close(self) -> None:
        """Stop listening."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        self._deaf()
        self._read.close()
        self._write.close()

    def hear(self, workers: Workers, timeout_s: float) -> None:
        """Wait until something happens, at most `timeout_s`."""
        if (heard := (workers.fileno(), workers.generation)) != self._workers_heard:
            self._follow(heard)
        self._selector.select(timeout_s)

    def _follow(self, heard: tuple[int, int]) -> None:
        """Listen to a new parent of the workers; the old one's descriptor is closed and so left epoll by itself.

        The new one's is often the same number, which epoll does not watch: hence the generation beside it.
        """
        with suppress(KeyError, ValueError):
            self._selector.unregister(self._workers_heard[0])
        self._workers_heard = heard
        if heard[0] >= 0:
            self._selector.register(heard[0], selectors.EVENT_READ)

    def signals(self) -> Iterator[int]:
        """Yield the signals that came, in order."""
        try:
            yield from self._read.recv(4096)
        except BlockingIOError:
            return

    def names(self, now: float) -> list[str]:
        """Return the names that appeared in the queue."""
        if self._doubt or (self._hints is not None and self._hints.lost):
            self._doubt = False
            self._create()
            if self._places() != self._heard:
                self._deaf()
                self._again_at = now
        if self._hints is None and now >= self._again_at:
            self._listen(now)
        return self._hints.take() if self._hints is not None else []

    def missed(self) -> bool:
        """Tell whether names were dropped since this was last asked."""
        return self._hints is not None and self._hints.missed()

    def doubt(self) -> None:
        """Look at the next turn whether the directories are still there."""
        self._doubt = True

    def _create(self) -> None:
        for spool in self._spools:
            with suppress(OSError):
                spool.create()

    def _places(self) -> list[int]:
        """Return which directories the paths stand for: a watch follows the directory, not the path."""
        with suppress(OSError):
            return [os.stat(path).st_ino for path in (self._spools[0].path, self._spools[0].deferred)]
        return []

    def _listen(self, now: float) -> None:
        self._again_at = now + AGAIN_S
        self._create()
        self._heard = self._places()
        try:
            self._hints = Hints([self._spools[0].path, self._spools[0].deferred])
        except OSError as error:
            if not self._degraded:
                message = f"no notifications, only the rescan finds arrivals: {error}"
                journal.event(Event.WATCHER_DEGRADED, message, priority=Priority.WARNING)
            self._degraded = True
        else:
            self._degraded = False
            self._selector.register(self._hints, selectors.EVENT_READ)

    def _deaf(self) -> None:
        if self._hints is not None:
            self._selector.unregister(self._hints)
            self._hints.close()
            self._hints = None


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wakeup descriptor has told the loop already."""
