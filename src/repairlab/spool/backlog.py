"""backlog: what is ready, in which order; a bounded window in memory over arrivals and deferred jobs.

The directory is the truth. `hint` makes one name known in O(1); `scan` walks the directories in slices of a bounded
time, over an open scandir that goes on where it stopped (a carousel), so a pick-up costs the same whether ten or a
hundred thousand files wait. A pass is skipped when the directory cannot have changed since the last one.

Order: the submitter served least recently; of his the highest priority, in it the lineage served least recently, in
that the earliest arrival. When the window is full, an entry of a submitter who has less in it replaces one of whoever
has the most; among one's own, a higher priority or a rarer lineage replaces one of the fullest lineage. What found no
room is found again by a later pass.

What is in somebody's hands (a lock on a job's directory, which whoever may read it can hold; a file open for writing)
is tried again after a pause that doubles each time, and costs its submitter his turn: nobody slows the others by that.
"""

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from repairlab.errors import TemporaryFailure, Unavailable
from repairlab.spool import history
from repairlab.spool.arrival import look
from repairlab.spool.claim import Claim
from repairlab.spool.disk import trouble
from repairlab.spool.job import read_facts
from repairlab.spool.order import Entry, Order
from repairlab.spool.policy import State
from repairlab.spool.taking import Seen, Taken, identity, take_arrival, take_parked
from repairlab.spool.tree import GRANULE_S, ID, Tree

_EVENTS = 4096
_TRIES = 64  # entries that one take may find gone or duplicate before it returns
_INGEST = 32  # hints looked at in one take; the rest in scans
_DISTRUST = 12  # every so many passes the directory is read even if it seems unchanged
_PUT_OFF_S = 0.05, 60.0  # the first pause after a try in vain, and the longest
_RECHECK_S = 60.0  # a stepped wall clock is noticed so soon by jobs that wait for an instant


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that `take` settled or gave up by itself, for the journal: `duplicate`, `stuck`, `exposed`."""

    kind: str
    name: str
    job_id: str = ""
    reason: str = ""


class Backlog:
    """The window. `events` collects incidents, oldest first; the consumer pops them."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._order = Order(tree.policy.backlog_entries)
        self._hints: dict[str, None] = {}
        self._seen: dict[str, Seen] = {}
        self._put_off: dict[str, int] = {}  # how often each was tried in vain
        self._stuck: dict[tuple[int, int, int], str] = {}
        self._passes = (Carousel(tree, tree.path, tree.arrives), Carousel(tree, tree.state(State.DEFERRED), is_id))
        self._scanning: Iterator[tuple[bool, str]] | None = None
        self._next_pass = self._earliest = 0.0
        self._wanted = False  # one more pass: what the one under way has gone by may have changed
        self._looked_s = 0.0
        self._cut_short = False  # the last take gave up after many duplicates, with more ready
        self.events: deque[Incident] = deque(maxlen=_EVENTS)

    def __len__(self) -> int:
        return len(self._order) + len(self._hints)

    def hint(self, name_or_id: str) -> None:
        """Make one arrival or deferred job known; anything else is ignored. O(1), no system call."""
        if not self._tree.arrives(name_or_id) and not is_id(name_or_id):
            return
        if len(self._hints) >= self._tree.policy.backlog_entries:
            self.rescan()
            return
        self._hints[name_or_id] = None

    def rescan(self) -> None:
        """Let the next pass begin at once, for what no hint told of; it still is a twentieth of the time at most."""
        self._wanted = True
        self._next_pass = min(self._next_pass, self._earliest)

    def scan(self, budget_s: float = 0.001) -> bool:
        """Look at the directories for at most about `budget_s`; True while this pass has more to do."""
        end = time.perf_counter() + budget_s
        with trouble("scan the queue"):
            self._wake()
            while self._hints and time.perf_counter() < end:
                self._ingest_hint()
            return True if self._hints else self._scan_until(end)

    def _scan_until(self, end: float) -> bool:
        now = self._tree.clock.boottime()
        if self._scanning is None:
            if now < self._next_pass and not self._hungry():
                return False
            self._order.missed = self._wanted = False
            self._scanning = (entry for carousel in self._passes for entry in carousel.walk(self._order.refused))
            self._looked_s = 0.0
        for arrival, name in self._scanning:
            if name not in self._order:
                began = time.perf_counter()
                self._ingest(name, arrival)
                self._looked_s += time.perf_counter() - began
            if time.perf_counter() >= end:
                return True
        self._scanning = None
        took_s = self._looked_s if self._order.missed else 0.0  # all that had no room is looked at again each pass
        took_s += sum(carousel.took_s for carousel in self._passes)
        now = self._tree.clock.boottime()
        self._earliest = now + 20 * took_s
        self._next_pass = max(now + self._tree.policy.rescan_s, self._earliest)
        if self._wanted:
            self.rescan()
        return False

    def _hungry(self) -> bool:
        """Whether a pass had to leave entries out and there is room for them now."""
        return self._order.missed and len(self._order) < self._tree.policy.backlog_entries // 2

    def take(self, eligible: Callable[[Entry], bool] | None = None) -> Claim | None:
        """Claim the next ready job, None when none is; `eligible` may pass over entries by lineage and submitter.

        Raises TemporaryFailure, the job left where it was and put off for a moment, when the disk is full.
        """
        with trouble("look at what is ready"):
            self._wake()
        for _ in range(min(_INGEST, len(self._hints))):
            self._ingest_hint()
        for _ in range(_TRIES):
            entry = self._order.next(eligible)
            if entry is None:
                self._cut_short = False
                return None
            if claim := self._try(entry):
                return claim
        self._cut_short = True
        return None

    def _try(self, entry: Entry) -> Claim | None:
        self._order.remove(entry.name)
        try:
            taken = self._take(entry)
        except TemporaryFailure:
            self._order.wait(entry, self._tree.clock.boottime() + self._tree.policy.recovery_base_s)
            raise
        if taken.claim:
            self._put_off.pop(entry.name, None)
            if taken.exposed:
                self.events.append(Incident("exposed", entry.name, taken.claim.id))
            self._order.served(entry)
            return self._not_too_early(taken.claim)
        self._settle(entry, taken)
        return None

    def _take(self, entry: Entry) -> Taken:
        if entry.arrival:
            return take_arrival(self._tree, entry.name, self._seen.pop(entry.name, None))
        return take_parked(self._tree, entry.name, self._tree.at(State.DEFERRED, entry.name))

    def _settle(self, entry: Entry, taken: Taken) -> None:
        if taken.retry_s is not None:
            if taken.seen:
                self._seen[entry.name] = taken.seen
            self._order.served(entry)
            pause_s = max(taken.retry_s, self._pause_s(entry.name))
            self._order.wait(entry, self._tree.clock.boottime() + pause_s)
            return
        self._put_off.pop(entry.name, None)
        if taken.duplicate_of:
            self.events.append(Incident("duplicate", entry.name, taken.duplicate_of))
        elif taken.stuck:
            self._stuck[taken.inode] = taken.stuck  # told once; the file is left alone until its ctime changes
            if len(self._stuck) > _EVENTS:
                del self._stuck[next(iter(self._stuck))]
            self.events.append(Incident("stuck", entry.name, reason=taken.stuck))

    def _pause_s(self, name: str) -> float:
        times = self._put_off.pop(name, 0)
        self._put_off[name] = times + 1
        if len(self._put_off) > self._tree.policy.backlog_entries:
            del self._put_off[next(iter(self._put_off))]
        first, longest = _PUT_OFF_S
        return min(first * 2.0 ** min(times, 32), longest)

    def _not_too_early(self, claim: Claim) -> Claim | None:
        """Defer, uncounted, a job whose submitter asked for a later instant."""
        wanted = claim.facts.get("not_before")
        if not wanted or any(entry["event"] in ("released", "retried") for entry in claim.history.events):
            return claim  # an operator's word is younger than the submitter's
        if history.epoch(wanted, 0.0) <= self._tree.clock.wall():
            return claim
        with claim:
            job = claim.leave("scheduled", State.DEFERRED, durable=False, not_before=wanted)
        self.hint(job.id)
        return None

    def _ingest_hint(self) -> None:
        name = next(iter(self._hints))
        del self._hints[name]
        self._put_off.pop(name, None)
        self._order.remove(name)  # a hint says that something changed: look at once, whatever was planned
        self._ingest(name, self._tree.arrives(name))

    def _ingest(self, name: str, arrival: bool) -> None:
        try:
            if arrival:
                self._ingest_arrival(name)
            else:
                self._ingest_deferred(name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if not arrival or error.errno not in (errno.EIO, errno.EAGAIN):
                raise
            self._order.add(Entry(name, True, 0, "", -1, 0.0))  # taking it will tell

    def _ingest_arrival(self, name: str) -> None:
        with look(self._tree, name) as found:
            if identity(found.status) in self._stuck:
                return
            env = found.envelope
            self._order.add(Entry(name, True, env.priority, env.lineage, found.served, found.status.st_ctime))

    def _ingest_deferred(self, job_id: str) -> None:
        path = self._tree.at(State.DEFERRED, job_id)
        status = os.stat(path, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode) or identity(status) in self._stuck:
            return
        events = history.read(f"{path}/{history.NAME}")
        facts = read_facts(self._tree, job_id, path)
        lineage, submitter = str(facts.get("lineage")), int(facts.get("served", facts["submitter"]))
        since = history.epoch(facts.get("arrived"), 0.0)
        entry = Entry(job_id, False, int(facts.get("priority", 0)), lineage, submitter, since)
        remaining_s = self._tree.clock.remaining_s(events[-1]) if events else 0.0
        if remaining_s > 0:
            self._order.wait(entry, self._tree.clock.boottime() + min(remaining_s, _RECHECK_S))
        else:
            self._order.add(entry)

    def _wake(self) -> None:
        """Look again at what had to wait until now."""
        for entry in self._order.due(self._tree.clock.boottime()):
            if entry.arrival:
                self._order.add(entry)
            else:
                self._ingest(entry.name, False)

    def next_wakeup(self) -> float | None:
        """Return when (time.monotonic) to call `scan` and `take` again at the latest; now when there is work left."""
        clock = self._tree.clock
        if self.busy:
            return clock.monotonic()
        due = self._order.next_due()
        at = self._next_pass if due is None else min(due, self._next_pass)
        return clock.monotonic() + max(0.0, at - clock.boottime())

    @property
    def busy(self) -> bool:
        """Whether `scan` or `take` have work left that needs no waiting."""
        return self._scanning is not None or bool(self._hints) or self._hungry() or self._cut_short

    def close(self) -> None:
        """Let go of the directories."""
        self._scanning = None
        for carousel in self._passes:
            carousel.close()


def is_id(name: str) -> bool:
    """Tell whether the name is that of a job directory."""
    return ID.fullmatch(name) is not None


class Carousel:
    """Passes over one directory, each from an open scandir; `took_s` is the working time of the last."""

    def __init__(self, tree: Tree, path: str, wanted: Callable[[str], bool]) -> None:
        self._tree, self._path, self._wanted = tree, path, wanted
        self._arrivals = path == tree.path
        self._proved: int | None = None
        self._skipped = 0
        self._open: Iterator[os.DirEntry[str]] | None = None
        self.took_s = 0.0

    def walk(self, refused: Callable[[], bool]) -> Iterator[tuple[bool, str]]:
        """Yield (is an arrival, name) for each entry; nothing when the directory is proved unchanged."""
        try:
            mtime_ns = os.stat(self._path).st_mtime_ns
        except FileNotFoundError:
            raise Unavailable(f"there is no queue at {self._path}", fix="create it, or configure another") from None
        if mtime_ns == self._proved and self._skipped < _DISTRUST:
            self._skipped += 1
            self.took_s = 0.0
            return
        # A change within the same tick as the mtime that we saw would not move it: only an old mtime proves anything.
        old = self._tree.clock.wall() - mtime_ns / 1e9 > GRANULE_S
        self._proved, self._skipped, spent_s = None, 0, 0.0
        with os.scandir(self._path) as self._open:
            mark = time.perf_counter()
            for entry in self._open:
                if self._wanted(entry.name):
                    spent_s += time.perf_counter() - mark
                    yield self._arrivals, entry.name
                    mark = time.perf_counter()
        self.took_s = spent_s
        self._proved = mtime_ns if old and not refused() else None

    def close(self) -> None:
        """End a pass that is under way."""
        if self._open is not None:
            self._open.close()  # type: ignore[attr-defined]
