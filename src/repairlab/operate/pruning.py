"""pruning: what a cleanup removes, and what it must not.

`plan` finds, `carry_out` removes; a dry run is the plan alone, so that it lists exactly what a run at that instant
would remove. Kinds, each with its own age limit (an age of exactly the limit is old enough):

    processed    ended repair jobs, from the instant of their end as their history dates it; directories of other users
                 that were put where handoffs belong
    challengers  challengers that wait or have ended, from their arrival or end; never one that a champion names
    specs, llm   specs and questions to a model that have ended, questions that nobody took, answers
    sbom         documents of the chain of bundles that nothing names and that no such bundle comes from
    patches      patches for people of what is no champion, and was none before the present one
    bundles      entries of the bundle store that nothing names, from their last use (a frozen bundle's own time; of
                 anything else that somebody put there, the newest in it; a time in the future counts for nothing)
    escalations  what is told of units that failed, from when it was written
    work         work directories of jobs at rest, and staging that a crash left behind

Never: an active, deferred or held job; a bundle that is named by a job that may still run (waiting, active, deferred,
held) or be retried (hard_fail, rejected), by a challenger that is kept or by a champion. "Named" is meant widely: its
path or its digest anywhere in the document or in the history. A use of a bundle makes it young, so one that is taken
into use while we look at it is seen to be young after it has been moved aside, and moved back.

What lies here was made by others, as they please. Each entry has an error boundary of its own: what cannot be judged or
removed is one `Removal` with its `error`, and keeps nothing else.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repairlab import config
from repairlab.errors import RepairLabError
from repairlab.operate import rooms, views
from repairlab.operate.aged import (
    IN_USE,
    STAGING,
    Place,
    Removal,
    certain,
    entries_of,
    judged,
    remove_file,
    set_aside,
    told,
    written,
)
from repairlab.spool import State, leftovers
from repairlab.spool.disk import EXPIRED, remove_or_hand_over, trouble
from repairlab.spool.measure import changed, statuses

if TYPE_CHECKING:
    from repairlab.spool import Job, Spool

DIGEST = re.compile(rb"[0-9a-f]{24,64}")
FROZEN = re.compile(r"[0-9a-f]{64}")
MAX_DOCUMENT = 16 << 20
FRESH_S = 5.0
# A job that moves while its queue is read may be missed where it left and where it came to. Two rounds, each with the
# unfinished states in the order in which jobs pass through them, meet every job at least once.
ROUNDS = (State.WAITING, State.DEFERRED, State.HOLD, State.ACTIVE, State.HARD_FAIL, State.REJECTED) * 2


def plan(place: Place) -> Iterator[Removal]:
    """Yield what a cleanup would remove, kind by kind."""
    doomed = set()
    for removal in (*_processed(place), *_challengers(place), *rooms.ended(place)):
        if not removal.error:
            doomed.add(str(removal.path))
        yield removal
    needed = cache(lambda: _Needed(place, doomed))
    yield from _escalations(place)
    yield from rooms.responses(place)
    yield from _work(place, doomed)
    yield from rooms.staged(place)
    yield from _bundles(place, needed)
    yield from rooms.documents(place, lambda: needed().chain)
    yield from rooms.letters(place, lambda: needed().standing)


def carry_out(place: Place, removals: Iterable[Removal]) -> Iterator[Removal]:
    """Remove, and yield what was removed; what could not be, or has come into use since, carries its `error`."""
    needed: list[_Needed] = []  # read when the first bundle's turn comes: the jobs that went with it are gone by then
    for removal in removals:
        error: str | None = removal.error
        if not error:
            try:
                error = _remove(place, removal, needed)
            except (OSError, RepairLabError) as trouble:
                error = told(trouble)
        used = (removal.bytes, removal.inodes) if error is None else (0, 0)
        yield Removal(removal.kind, removal.path, *used, error or "")


def _remove(place: Place, removal: Removal, needed: "list[_Needed]") -> str | None:
    path = str(removal.path)
    if removal.path.parent == config.bundles_dir(place.root):
        return _remove_bundle(place, removal, needed)
    if removal.kind == "escalations":
        return remove_file(removal.path)
    if removal.kind in rooms.KINDS:
        return rooms.remove(place, removal, lambda: _fresh(place, needed).chain, lambda: _fresh(place, needed).standing)
    spool = next((queue for queue in place.queues if removal.path.is_relative_to(queue.path)), None)
    if spool is None:
        return rooms.remove_staged(removal.path)
    if removal.kind == "work":
        return leftovers.remove_work(spool, path)
    if removal.path.parent == spool.path:
        return _remove_arrival(spool, removal.path.name)
    return leftovers.remove_ended(spool, path)


def _processed(place: Place) -> Iterator[Removal]:
    if place.repair.path.is_dir():
        for old in place.repair.expired(timedelta(days=place.ttl.processed_days), place.now):
            yield Removal("processed", old.path, old.bytes, old.inodes, old.error)
        limit = place.limit(place.ttl.processed_days)
        for path in leftovers.directories(place.repair):
            yield from judged("processed", path, limit, partial(_put_there, path))


def _challengers(place: Place) -> Iterator[Removal]:
    """Challengers that wait or have ended; those in an evaluator's or an operator's hands are live."""
    if not place.challengers.path.is_dir():
        return
    promoted, limit = _champions(place.root), place.limit(place.ttl.challengers_days)
    for job in place.challengers.jobs(State.WAITING, *views.ENDED):
        yield from judged("challengers", job.path, limit, partial(_arrived, job, promoted))


def _champions(root: Path) -> set[str]:
    """Return every digest and id that a champion's files name."""
    found: set[str] = set()
    with trouble("look at the champions"):
        for at, _, names in os.walk(root / "champions", onerror=_unless_closed):
            for name in names:
                found |= _digests(certain(at, name, MAX_DOCUMENT)) | _digests(os.fsencode(name))
    return found


def _unless_closed(error: OSError) -> None:
    """Raise what leaves unknown who is champion; what has gone is none, and who may not look there removes nothing."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
        raise error


def _identities(job: "Job") -> set[str]:
    """Return what a champion may call this challenger: its id, the repair job's id, the hash of what it became."""
    value = _document(job)
    named = (job.id, value.get("idempotency_key"), value.get("bundle_sha256"))
    return {item for item in named if isinstance(item, str)} | _digests(os.fsencode(job.name))


def _remove_arrival(spool: "Spool", name: str) -> str | None:
    """Remove a challenger that still waits; one that has been claimed meanwhile is live."""
    try:
        job = spool.find(name)
        if job.state is State.WAITING:
            spool.drop(name)
    except FileNotFoundError:
        return None
    except RepairLabError as error:
        return None if not os.path.lexists(spool.path / name) else str(error)
    return None


def _escalations(place: Place) -> Iterator[Removal]:
    limit, entries = place.limit(place.ttl.escalations_days), []
    with suppress(PermissionError):  # a dry run of a person who may not look there
        entries = entries_of(config.escalations_dir(place.root))
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield from judged("escalations", entry.path, limit, partial(written, entry.path))


def _work(place: Place, doomed: set[str]) -> Iterator[Removal]:
    limit = place.limit(place.ttl.work_days)
    for spool in place.queues:
        for job, path in leftovers.work_directories(spool):
            if job.path not in doomed:
                yield from judged("work", path, limit, partial(_rests, job))
    for entry in entries_of(config.bundles_dir(place.root)):
        if entry.name.startswith(EXPIRED) and (os.geteuid() == 0 or _is_empty(entry)):
            yield from judged("work", entry.path, limit, lambda: 0.0)
        if entry.name.startswith(STAGING):
            yield from judged("work", entry.path, limit, partial(_last_use, entry.path))


def _is_empty(entry: "os.DirEntry[str]") -> bool:
    """Tell whether what was handed over to root has been emptied; what is no directory is as good as that."""
    try:
        return not entry.is_dir(follow_symlinks=False) or not os.listdir(entry.path)
    except OSError:
        return False


def _bundles(place: Place, needed: "Callable[[], _Needed]") -> Iterator[Removal]:
    limit = place.limit(place.ttl.bundles_days)
    for entry in entries_of(config.bundles_dir(place.root)):
        if entry.name.startswith("."):
            continue
        for removal in judged("bundles", entry.path, limit, partial(_last_use, entry.path)):
            if not needed().names(entry.name):
                yield removal


def _put_there(path: str) -> float:
    return os.lstat(path).st_ctime


def _rests(job: "Job") -> float:
    return job.since.timestamp()


def _arrived(job: "Job", promoted: set[str]) -> float:
    """Return since when the challenger waits or has ended; one that a champion names is as young as can be."""
    return float("inf") if _identities(job) & promoted else job.since.timestamp()


def _last_use(path: str) -> float:
    """Return the instant of the last use; one that vanishes is as young as can be."""
    if FROZEN.fullmatch(os.path.basename(path)):
        return changed(os.lstat(path))
    return max(map(changed, statuses(path)), default=float("inf"))


def _remove_bundle(place: Place, removal: Removal, needed: "list[_Needed]") -> str | None:
    """Remove an entry of the store, unless it has come into use."""
    path = removal.path
    if path.name.startswith(EXPIRED):
        return None if remove_or_hand_over(str(path)) else "not all of it could be removed"
    days = place.ttl.work_days if removal.kind == "work" else place.ttl.bundles_days
    limit = place.limit(days).timestamp()
    if removal.kind == "bundles" and _fresh(place, needed).names(path.name):
        return IN_USE
    return set_aside(path, lambda: _last_use(str(path)) <= limit)


class _Needed:
    """What names bundles: jobs that may still run or be retried, challengers that are kept, champions."""

    def __init__(self, place: Place, doomed: Iterable[str] = ()) -> None:
        self._place, self._doomed = place, set(doomed)
        self.digests, self._tops = _champions(place.root), set[str]()
        self._store = config.bundles_dir(place.root)
        self._began = time.monotonic()
        for job in self._jobs():
            if job.path not in self._doomed:
                with suppress(FileNotFoundError, NotADirectoryError):
                    self._read(job)
        self._took_s = time.monotonic() - self._began

    @cached_property
    def chain(self) -> set[str]:
        """The needed bundles and all that these come from."""
        began = time.monotonic()
        found = rooms.chained(self._place, self.digests)
        self._took_s += time.monotonic() - began
        return found

    @cached_property
    def standing(self) -> rooms.Standing:
        """Whose letters stay."""
        return rooms.Standing(self._place)

    @property
    def stale(self) -> bool:
        """Whether to look again: after some seconds, and not before a second time of what looking took."""
        return time.monotonic() - self._began > max(FRESH_S, 2 * self._took_s)

    def _jobs(self) -> Iterator["Job"]:
        for spool in self._place.queues:
            yield from spool.jobs(*ROUNDS)
        if self._place.challengers.path.is_dir():
            yield from self._place.challengers.jobs(State.OK)

    def _read(self, job: "Job") -> None:
        self.digests |= _digests(_raw(job))
        if job.state is not State.WAITING:
            self.digests |= _digests(views.contents(job.path, "attempts.jsonl", MAX_DOCUMENT) or b"")
        named = _document(job).get("bundle_dir")
        if isinstance(named, str) and "\0" not in named:
            for path, store in ((named, self._store), (_really(named), os.path.realpath(self._store))):
                with suppress(ValueError):
                    self._tops |= set(Path(path).relative_to(store).parts[:1])

    def names(self, entry: str) -> bool:
        """Whether anything needs this entry of the bundle store."""
        return entry in self.digests or entry in self._tops


def _fresh(place: Place, needed: list[_Needed]) -> _Needed:
    """Return what is needed, read anew where that is stale."""
    if not needed or needed[0].stale:
        needed[:] = [_Needed(place)]
    return needed[0]


def _really(path: str) -> str:
    try:
        return os.path.realpath(path)
    except RecursionError:  # a chain of links that no bundle is taken through
        return path


def _digests(raw: bytes) -> set[str]:
    return {match.decode() for match in DIGEST.findall(raw)}


def _raw(job: "Job") -> bytes:
    directory, name = os.path.split(job.path) if job.state is State.WAITING else (job.path, "job.json")
    return certain(directory, name, MAX_DOCUMENT)


def _document(job: "Job") -> dict[str, Any]:
    import orjson

    try:
        value = orjson.loads(_raw(job))
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
