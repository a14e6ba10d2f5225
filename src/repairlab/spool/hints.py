"""hints: which names have just appeared in the queue, said by inotify (watchdog) within a fraction of a ms.

A hint is a hint: it may be late, lost or wrong, and the rescan of the backlog is the truth. What this module owes its
caller is only that hints are quick, that they never block or fill memory, and that their loss is told (`lost`).

Watched, not recursively: the queue directory (arrivals) and deferred/ (what is deferred, released, retried or handed
back by any process). The mask has IN_MOVED_TO but not IN_MOVED_FROM. That is the point of the module: watchdog holds
every IN_MOVED_FROM back for 0.5 s, hoping to pair it with an IN_MOVED_TO, and everything that comes after it in the
same queue waits with it, so that each claim (a rename out of the queue directory) would delay the next arrival by up
to half a second. With nothing to pair nothing is held back, and our own claims do not wake us.

Threads: watchdog's reader and one emitter a directory. They only append a name and write an eventfd; no thread of ours
touches the spool. Descriptor: `fileno()` becomes readable when `take()` has something to return.

Errors: OSError from the constructor when inotify is missing or one of its limits is reached; the caller then lives on
rescans. `lost` is also set when a watched directory was removed; `close()` and build anew.
"""

import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from watchdog.events import DirCreatedEvent, DirDeletedEvent, FileClosedEvent, FileCreatedEvent, FileSystemEvent
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyConstants

MASK = (
    InotifyConstants.IN_CREATE  # link(2), the last step of publish
    | InotifyConstants.IN_CLOSE_WRITE  # the end of a plain cp
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_ONLYDIR
)
BOUND = 65_536  # names; beyond it the oldest are forgotten and the rescan finds them
APPEARED = (FileCreatedEvent, DirCreatedEvent, FileClosedEvent)


class Hints:
    """The names that appeared since they were last taken."""

    def __init__(self, directories: Sequence[Path], *, mask: int = MASK) -> None:
        self._names: deque[str] = deque(maxlen=BOUND)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._lost = False
        self._emitters: list[_Emitter] = []
        try:
            for directory in directories:
                emitter = _Emitter(self, directory, mask)
                emitter.start()
                self._emitters.append(emitter)
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
        self._names.append(name)
        self._ring()

    def lose(self) -> None:
        """Say that a directory is gone (from any thread)."""
        self._lost = True
        self._ring()

    def _ring(self) -> None:
        with self._lock:  # or the number, closed and given to another file, would be written to
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the threads and give the descriptors back; a second call does nothing."""
        emitters, self._emitters = self._emitters, []
        for emitter in emitters:
            emitter.stop()
        for emitter in emitters:
            emitter.join()
        with self._lock:
            if self._wake >= 0:
                os.close(self._wake)
                self._wake = -1


class _Emitter(InotifyEmitter):
    """A watch whose events go straight to the hints, past the observer's own queue and thread."""

    def __init__(self, hints: Hints, directory: Path, mask: int) -> None:
        # watchdog watches with IN_DONT_FOLLOW, so a queue behind a symlink must be resolved here.
        super().__init__(EventQueue(), ObservedWatch(str(directory.resolve()), recursive=False))
        self._hints = hints
        self._mask = mask

    def get_event_mask_from_filter(self) -> Any:
        return self._mask

    def queue_event(self, event: FileSystemEvent) -> None:
        if isinstance(event, APPEARED):
            self._hints.put(os.path.basename(os.fsdecode(event.src_path)))
        elif isinstance(event, DirDeletedEvent) and os.fsdecode(event.src_path) == self.watch.path:
            self._hints.lose()
