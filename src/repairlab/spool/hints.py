"""hints: which names have just appeared in the queue, said by inotify (watchdog) within a fraction of a ms.

A hint is a hint: it may be late, lost or wrong, and the rescan of the backlog is the truth. What this module owes its
caller is only that hints are quick, that they never block or fill memory, and that their loss is told: `missed` when
names were dropped and the directories want to be looked at now, `lost` when a watched directory is gone.

Watched, not recursively: the queue directory (arrivals) and deferred/ (what is deferred, released, retried or handed
back by any process). The mask has IN_MOVED_TO but not IN_MOVED_FROM: our own claims (renames out of the queue
directory) do not wake us. watchdog's observers are not used, only its reader of inotify: an emitter of theirs holds
every IN_MOVED_FROM back for 0.5 s, hoping to pair it with an IN_MOVED_TO, everything behind it waits with it, and the
overflow of the kernel's queue does not get through them.

Threads: watchdog's reader. It only appends a name and writes an eventfd; no thread of ours touches the spool.
Descriptors: inotify, the reader's pipe, an eventfd; `fileno()` becomes readable when `take()` has something to return
or `missed` or `lost` is news.

Errors: OSError from the constructor when inotify is missing or one of its limits is reached; the caller then lives on
rescans. After `lost`, `close()` and build anew.
"""

import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

MASK = Mask(
    InotifyConstants.IN_CREATE  # link(2), the last step of publish
    | InotifyConstants.IN_CLOSE_WRITE  # the end of a plain cp
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_ONLYDIR
)
BOUND = 65_536  # names; beyond it the oldest are forgotten and the rescan finds them


class Hints:
    """The names that appeared since they were last taken."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._names: deque[str] = deque(maxlen=BOUND)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._missed = self._lost = False
        self._reader: InotifyFD | None = None
        try:
            self._reader = _Reader()
            self._reader.start()
            for directory in directories:
                self._reader.add_callback(os.fsencode(directory), MASK, self, CallbackId(id(self)))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to take."""
        return self._wake

    @property
    def lost(self) -> bool:
        """Whether a watched directory is gone, so that nothing more can be expected from here."""
        return self._lost

    def missed(self) -> bool:
        """Tell whether names were dropped since this was last asked."""
        missed, self._missed = self._missed, False
        return missed

    def take(self) -> list[str]:
        """Return the names in the order in which they appeared, each once, and forget them."""
        try:
            os.eventfd_read(self._wake)  # before the names: one put in between is taken now and wakes us for nothing
        except BlockingIOError:
            return []
        names: dict[str, None] = {}
        for _ in range(len(self._names)):  # popleft is atomic; what is put meanwhile rings again
            names[self._names.popleft()] = None
        return list(names)

    def put(self, name: str) -> None:
        """Add a name (from any thread)."""
        if len(self._names) == BOUND:
            self._missed = True
        self._names.append(name)
        self._ring()

    def _ring(self) -> None:
        with self._lock:  # or the number, closed and given to another file, would be written to
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the thread and give the descriptors back; a second call does nothing."""
        with self._lock:  # first: that the watches go now is no news
            wake, self._wake = self._wake, -1
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
            reader.join()
        if wake >= 0:
            os.close(wake)

    # What watchdog's reader calls, from its thread

    def on_event(self, event: InotifyEvent) -> None:
        """Take note of a name; an event without one is about the directory itself."""
        if event.name:
            self.put(os.fsdecode(event.name))

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002  watchdog passes it
        """Take note that a directory is gone."""
        self._lost = True
        self._ring()

    def on_queue_overflow(self) -> None:
        """Take note that more happened than the kernel keeps events of."""
        self._missed = True
        self._ring()


class _Reader(InotifyFD):
    """watchdog's reader, which leaves no descriptor behind where there is none left for its pipe."""

    def __init__(self) -> None:
        self._inotify_fd = -1
        try:
            super().__init__()
        except OSError:
            if self._inotify_fd >= 0:
                os.close(self._inotify_fd)
            raise
