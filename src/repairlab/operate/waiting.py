"""waiting: `repairlab wait` and `repairlab follow`: what happens to jobs, as it happens.

Both poll, cheaply: a job that has not moved costs one lstat, a directory in which nothing moved one stat. Polling needs
no inotify instance, works on every file system, and cannot miss a move: what happened in between stands in the job's
own history, and `follow` prints all of that.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from repairlab.errors import BadInput, NegativeAnswer, TemporaryFailure
from repairlab.operate import output, views
from repairlab.operate.app import Answer, App, command, ids_argument, queue_option, read_ids
from repairlab.spool import State

if TYPE_CHECKING:
    from repairlab.spool import Job, Spool

PAUSE_S = 0.05
FOLLOW_S = 0.2
REMEMBERED = 10_000  # jobs that have ended, of which the last event told is kept
MOVING = (State.ACTIVE, State.DEFERRED, State.HOLD)


@command("wait")
@ids_argument()
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long, exit code 75.")
@queue_option()
def wait_command(app: App, ids: tuple[str, ...], timeout: float | None, queue: str) -> Answer:
    """Wait until jobs have ended.

    Prints a line as each one ends: ID, STATE, REASON. Exit 0 if all are ok, 1 if any is not repaired or was rejected,
    75 after --timeout; --json then tells those that have ended.
    """
    return wait(app, app.queue(queue), read_ids(ids), timeout)


def wait(app: App, spool: "Spool", ids: Iterable[str], timeout: float | None) -> Answer:
    """Wait for jobs, print each one that ends, and return all of them."""
    ended = []
    try:
        for job in ends(spool, ids, timeout):
            row = views.steadily(spool, job.id, views.row)
            ended.append(row)
            if not app.json:
                print(output.record([row["id"], row["state"], row["reason"] or ""]), flush=True)
    except TemporaryFailure as late:
        return Answer(data=ended, error=late)
    bad = [row["id"] for row in ended if row["state"] != State.OK]
    error = NegativeAnswer(f"not repaired: {', '.join(bad)}", fix="`repairlab show ID` says why") if bad else None
    return Answer(data=ended, error=error)


def ends(
    spool: "Spool", ids: Iterable[str], timeout: float | None = None, tick: Callable[[], None] = lambda: None
) -> Iterator["Job"]:
    """Yield each job once it has ended; call `tick` at every turn; TemporaryFailure after `timeout` seconds."""
    waiting = {job.id: job for job in (views.find(spool, given) for given in ids)}
    deadline = None if timeout is None else time.monotonic() + timeout
    while waiting:
        for job_id, known in list(waiting.items()):
            if known.state not in views.ENDED and os.path.lexists(known.path):
                continue
            job = waiting[job_id] = found(spool, job_id)
            if job.state in views.ENDED:
                del waiting[job_id]
                yield job
        tick()
        if waiting and deadline is not None and time.monotonic() >= deadline:
            told = ", ".join(f"{job.id} ({job.state})" for job in waiting.values())
            raise TemporaryFailure(f"after {output.duration(timeout or 0)} still unfinished: {told}", fix="wait again")
        if waiting:
            time.sleep(PAUSE_S)


def found(spool: "Spool", job_id: str) -> "Job":
    """Return a job that exists; one that moves at this very moment may have to be looked for more than once."""
    for _ in range(5):
        with suppress(BadInput, FileNotFoundError):
            return views.find(spool, job_id)
        time.sleep(PAUSE_S)
    return views.find(spool, job_id)


@command("follow")
@ids_argument(required=False)
@queue_option()
def follow_command(app: App, ids: tuple[str, ...], queue: str) -> Answer:
    """Print every move of every job as it happens.

    Columns: AT, ID, EVENT, STATE, WHAT; with --json one envelope a line. Ends at Ctrl-C. With ids, only those jobs are
    followed from their beginning until all have ended: exit 0 if all are ok, else 1; with --json the last line's data
    is then null.
    """
    spool = app.queue(queue)
    wanted = {views.find(spool, given).id for given in read_ids(ids)} if ids else None
    tail = Tail(spool, wanted, since=None if ids else time.time())
    output.say(f"repairlab: following {spool.path}")
    while True:
        for job, event in tail.poll():
            _print(app, job, event)
        if wanted is not None and all(job_id in tail.ended for job_id in wanted):
            bad = sorted(job_id for job_id in wanted if tail.ended[job_id] is not State.OK)
            return Answer(error=NegativeAnswer(f"not repaired: {', '.join(bad)}") if bad else None, data=None)
        time.sleep(FOLLOW_S)


def _print(app: App, job: "Job", event: dict[str, Any]) -> None:
    if app.json:
        print(output.envelope("follow", {"id": job.id, "state": _state(job, event), **event}), flush=True)
        return
    print(event_line(job, event), flush=True)


def _state(job: "Job", event: dict[str, Any]) -> str:
    """Return the state that an event brought the job into, which may have moved on since."""
    return str(event.get("to") or (State.ACTIVE if event["event"] == "started" else job.state))


def event_line(job: "Job", event: dict[str, Any]) -> str:
    """Return one event as a line: tab-separated off a terminal."""
    what = views.sentence(event) or (f"effort {event['effort']}" if "effort" in event else "")
    state = _state(job, event)
    cells = [output.instant(views.when(event)), job.id, str(event["event"]), state, what]
    return output.record(cells, [20, 24, 11, 9], views.COLOURS.get(state, ""))


class Tail:
    """The events of a queue's jobs since an instant (seconds since the epoch; None: since ever)."""

    def __init__(self, spool: "Spool", wanted: set[str] | None, since: float | None) -> None:
        self._spool, self._wanted, self._since = spool, wanted, since
        self._last: dict[str, dict[str, Any]] = {}  # the newest event told of each job that goes on
        self._over: dict[str, dict[str, Any]] = {}  # and of those that have ended: their new place is news yet to come
        self._names: dict[str, tuple[int, set[str]]] = {}  # of each directory: its mtime and what was in it
        self._others: set[str] = set()  # jobs that we may not read, and never will
        self.ended: dict[str, State] = {}
        if wanted is None:
            for directory in self._directories():
                self._moved_in(directory)  # what is there already is not news

    def poll(self) -> Iterator[tuple["Job", dict[str, Any]]]:
        """Yield what has happened since the last call."""
        for job_id in self._candidates():
            try:
                yield from self._news(job_id)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError:
                self._others.add(job_id)

    def _candidates(self) -> list[str]:
        if self._wanted is not None:
            return [job_id for job_id in self._wanted if job_id not in self.ended]
        moved = {name: None for directory in self._directories() for name in self._moved_in(directory)}
        active = self._names.get(f"{self._spool.path}/{State.ACTIVE}", (0, set()))[1]
        return [job_id for job_id in moved | dict.fromkeys(active) if job_id not in self._others]

    def _directories(self) -> list[str]:
        """Where jobs come to: the parked ones, and the buckets of the day and of the one before (around midnight)."""
        today = datetime.now(UTC)
        days = [(today - timedelta(days=back)).strftime("%Y-%m-%d") for back in (1, 0)]
        parked = [f"{self._spool.path}/{state}" for state in MOVING]
        return parked + [f"{self._spool.path}/processed/{state}/{day}" for state in views.ENDED for day in days]

    def _moved_in(self, directory: str) -> set[str]:
        """Return the names that are new in a directory since the last look."""
        before, known = self._names.get(directory, (0, set()))
        try:
            mtime = os.stat(directory).st_mtime_ns
            # Within the granularity of the file system's clock a later change leaves the same mtime.
            if mtime == before and time.time_ns() - mtime > 50_000_000:
                return set()
            names = set(os.listdir(directory))
        except FileNotFoundError:
            return set()
        self._names[directory] = (mtime, names)
        return names - known

    def _news(self, job_id: str) -> Iterator[tuple["Job", dict[str, Any]]]:
        from repairlab.errors import RepairLabError

        try:
            job = views.find(self._spool, job_id)
        except RepairLabError:  # dropped, or a name that is no job
            return
        for event in self._unseen(job_id, job.attempts()):
            self._last[job_id] = event
            yield job, event
        if job.state in views.ENDED:
            self._remember(job_id, job.state)

    def _remember(self, job_id: str, state: State) -> None:
        if self._wanted is not None:
            self.ended[job_id] = state
        if job_id in self._last:
            self._over.pop(job_id, None)
            self._over[job_id] = self._last.pop(job_id)
        while len(self._over) > REMEMBERED:
            del self._over[next(iter(self._over))]

    def _unseen(self, job_id: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        last = self._last.get(job_id, self._over.get(job_id))
        if last in events:
            return events[events.index(last) + 1 :]
        if self._since is None:
            return events
        return [event for event in events if (at := views.when(event)) and at.timestamp() >= self._since]
