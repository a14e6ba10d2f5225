"""watch.watcher: the loop that claims jobs and carries them to their end.

One thread, one selector. It wakes up for a name in the queue, the end of a worker, a signal, or the next due time, does
what that makes possible and sleeps again; nothing in it waits. What could take long (reading what was handed in,
freezing bundles, repairing, checking patches) is done by workers; what is done here for a job is a few renames and
appends. A pass over a large directory is cut into slices of a millisecond.

Signals: TERM and INT stop claiming, give running agents `grace_s`, then hand their jobs back; a second one hands them
back at once. HUP reads the configuration again; a wrong one is reported and the old one stays.

The service manager hears READY=1 once workers can be started, STATUS= when it changes, WATCHDOG=1 from this loop and
from nowhere else: a loop that hangs is a watcher that gets restarted.
"""

import os
import selectors
import signal
import time
from pathlib import Path

from repairlab import config, journal
from repairlab.config import Settings
from repairlab.errors import ConfigError, TemporaryFailure, Unavailable
from repairlab.journal import Event, Priority
from repairlab.spool import Backlog, Claim, Policy, Spool, State
from repairlab.watch.course import Course, Yard
from repairlab.watch.ears import Ears
from repairlab.watch.pressure import Pressure
from repairlab.watch.slots import Slots
from repairlab.watch.timers import Timers
from repairlab.watch.workers import Workers

SLICE_S = 0.001
REAP_S = 1.0
UPKEEP_S = 3600.0
STATUS_S = 1.0
CLAIMS_A_TURN = 8  # then the ends of workers and signals have their turn
LAST_RESORT_S = 10.0  # after the grace time, for workers that even SIGKILL does not end (a dead NFS server)
IDLE_S = 2.0  # with --once: beyond the settling time, for what never becomes ready


class Watcher:
    """One watcher of one state directory."""

    def __init__(
        self, root: Path, settings: Settings, workers: Workers, *, once: bool = False, concurrency: int | None = None
    ) -> None:
        self._root, self._once, self._concurrency = root, once, concurrency
        self._courses: list[Course] = []
        self._stop_at: float | None = None
        self._cut = self._scanned = False
        self._idle_since: float | None = None
        self._paused = self._status = ""
        self._ended = 0
        self._selector = selectors.DefaultSelector()
        self._workers = workers
        self._configure(settings)
        challengers = Spool(config.challengers_dir(root), pattern="challenger_*.json")
        self._ears = Ears(self._selector, self._spool, challengers)
        self._timers = Timers()

    def _configure(self, settings: Settings) -> None:
        """Put settings into force; jobs in hand keep theirs."""
        agents = self._concurrency or settings.watcher.concurrency or os.cpu_count() or 1
        self._slots = Slots(agents, settings.watcher.per_lineage)
        for course in self._courses:
            self._slots.hold(course)
        self._settings = settings
        self._pressure = Pressure(self._root, settings.watcher.min_free_mb)
        self._spool = Spool(config.queue_dir(self._root), policy=Policy.from_settings(settings.queue))
        self._backlog: Backlog = self._spool.backlog()
        self._yard = Yard(
            settings=settings,
            workers=self._workers,
            challengers=config.challengers_dir(self._root),
            store=config.bundles_dir(self._root),
            roots=config.bundle_roots(settings, self._root),
        )

    def run(self) -> int:
        """Serve the queue until told to stop (or, with `once`, until nothing waits)."""
        try:
            self._open()
            while self._going(time.monotonic()):
                self._turn()
        finally:
            self._close()
        return os.EX_OK

    def _open(self) -> None:
        now = time.monotonic()
        self._ears.open(now)
        self._workers.open(now)
        if interval := journal.watchdog_interval():
            self._timers.every(interval, self._feed)
        self._timers.every(REAP_S, self._reap)
        self._timers.every(REAP_S, self._workers.watch)
        self._timers.every(STATUS_S, self._report)
        self._timers.every(UPKEEP_S, lambda: self._workers.upkeep(self._spool.path))
        journal.notify("READY=1")
        journal.event(Event.WATCHER_READY, f"serving {self._spool.path} with {self._slots.concurrency} agents")

    def _close(self) -> None:
        for course in self._courses:
            course.claim.close()
        self._workers.close()
        self._backlog.close()
        self._ears.close()
        self._selector.close()

    def _going(self, now: float) -> bool:
        if self._stop_at is not None:
            return bool(self._courses) and now < self._stop_at + LAST_RESORT_S
        return not (self._once and self._drained(now))

    def _drained(self, now: float) -> bool:
        """Whether nothing waits that could still become ready."""
        if self._courses or not self._scanned:
            self._idle_since = None
            return False
        if next(self._spool.jobs(State.WAITING), None) is None:
            return True
        if self._paused:
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or now
        return now - self._idle_since > self._settings.queue.settle_s + IDLE_S

    # One turn

    def _turn(self) -> None:
        self._ears.hear(self._workers, max(0.0, self._wake_at() - time.monotonic()))
        now = time.monotonic()
        for number in self._ears.signals():
            self._signalled(number, now)
        for name in self._ears.names(now):
            self._backlog.hint(name)
        if self._ears.missed():
            self._backlog.rescan()
        self._workers.dispatch(now)
        self._timers.run(now)
        for course in self._courses:
            course.tick(now)
        self._stop_late(now)
        self._settle()
        self._fill(time.monotonic())

    def _wake_at(self) -> float:
        """Return when to wake up at the latest."""
        now = time.monotonic()
        times = [self._timers.next()]
        times += [course.due for course in self._courses if course.due is not None]
        if self._stop_at is not None:
            times.append(self._stop_at + (LAST_RESORT_S if self._cut else 0))
        else:
            times.append(self._backlog.next_wakeup() or now)
            times += [self._pressure.next_change(now)] if self._paused else []
        return min(times)

    def _fill(self, now: float) -> None:
        """Look for a slice of time at the directories, then claim while there is room."""
        if self._stop_at is not None:
            return
        try:
            self._scanned = not self._backlog.scan(SLICE_S)
            self._pause(self._pressure.why_not(now))
            self._slots.probing = self._pressure.probing
            for _ in range(CLAIMS_A_TURN):
                if self._paused or not self._slots.room or not (claim := self._take()):
                    break
                self._begin(claim, now)
        except (TemporaryFailure, Unavailable, OSError) as error:
            self._pressure.suffer("", str(error), now)
            self._ears.doubt()
        self._tell_incidents()

    def _take(self) -> Claim | None:
        return self._backlog.take(self._slots.fair) or self._backlog.take(self._slots.any)

    def _begin(self, claim: Claim, now: float) -> None:
        course = Course(self._yard, claim, self, now)
        self._slots.hold(course)
        self._courses.append(course)
        course.begin(now)

    def _settle(self) -> None:
        for course in [course for course in self._courses if course.done]:
            self._courses.remove(course)
            self._slots.free(course)
            self._ended += 1

    def _tell_incidents(self) -> None:
        while self._backlog.events:
            incident = self._backlog.events.popleft()
            if incident.kind == "duplicate":
                journal.event(Event.JOB_DUPLICATE, f"{incident.name} was handed in before", JOB_ID=incident.job_id)
            elif incident.kind == "exposed":
                message = f"{incident.name} could be read by every submitter while it waited, as its mode said"
                journal.say(message, priority=Priority.WARNING, JOB_ID=incident.job_id)
            else:
                message = f"{incident.name} is {incident.kind}: {incident.reason}"
                journal.event(Event.SPOOL_DAMAGED, message, priority=Priority.WARNING)

    # What the courses report

    def suffered(self, job_id: str, why: str) -> None:
        """Take note of trouble of ours."""
        self._ears.doubt()
        self._pressure.suffer(job_id, why, time.monotonic())

    def short(self) -> str:
        """Return what is short at this moment."""
        return self._pressure.shortage()

    def answered(self) -> None:
        """Take note that an agent ran to its end."""
        self._pressure.relieve()

    def _pause(self, why: str) -> None:
        if why and not self._paused:
            journal.event(Event.WATCHER_PAUSED, f"claiming pauses: {why}", priority=Priority.WARNING)
        elif self._paused and not why:
            journal.event(Event.WATCHER_RESUMED, "claiming goes on", priority=Priority.NOTICE)
        self._paused = why

    # Now and then

    def _feed(self) -> None:
        journal.notify("WATCHDOG=1")

    def _reap(self) -> None:
        try:
            found = self._spool.reap()
        except (Unavailable, OSError):  # somebody removed the queue
            self._ears.doubt()
            return
        for reaped in found:
            if reaped.what == "stuck":
                message = f"an abandoned job cannot be recovered: {reaped.reason}"
                journal.event(Event.SPOOL_DAMAGED, message, priority=Priority.ERROR, JOB_ID=reaped.id)
            elif reaped.job is not None:
                message = f"{reaped.what.replace('_', ' ')} after its owner died: {reaped.job.state}"
                journal.event(Event.JOB_RECOVERED, message, priority=Priority.WARNING, JOB_ID=reaped.id)
                self._backlog.hint(reaped.id)

    def _report(self) -> None:
        known = len(self._backlog)
        status = f"{len(self._courses)} running, {known} ready or deferred, {self._ended} done"
        status += f"; paused: {self._paused}" if self._paused else ""
        status += "; stopping" if self._stop_at is not None else ""
        if status != self._status:
            self._status = status
            journal.notify(f"STATUS={status}")

    # Signals

    def _signalled(self, number: int, now: float) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif self._stop_at is None:
            self._stop_at = now + self._settings.watcher.grace_s
            journal.notify("STOPPING=1")
            message = f"stopping; {len(self._courses)} jobs have {self._settings.watcher.grace_s:g} s to finish"
            journal.event(Event.WATCHER_STOPPING, message)
            for course in self._courses:
                if course.interruptible:
                    course.stop(now)
        else:
            self._stop_at = now

    def _stop_late(self, now: float) -> None:
        if self._stop_at is not None and now >= self._stop_at and not self._cut:
            self._cut = True
            for course in self._courses:
                course.stop(now)

    def _reload(self) -> None:
        journal.notify(f"RELOADING=1\nMONOTONIC_USEC={journal.monotonic_us()}")
        try:
            settings = config.load()
        except ConfigError as error:
            journal.say(f"the configuration was not reloaded: {error}", priority=Priority.ERROR)
        else:
            self._backlog.close()
            self._configure(settings)
            journal.event(Event.WATCHER_RELOADED, "the configuration was read again")
        journal.notify("READY=1")
