"""views: what the commands say of a job, as plain data.

A job moves while it is read, and what a job's directory holds was written by strangers: every file is opened without
following links, bounded, and may be missing.
"""

import glob
import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from repairlab.errors import BadInput, Forbidden, RepairLabError
from repairlab.spool import State

if TYPE_CHECKING:
    from repairlab.spool import Job, Spool

T = TypeVar("T")

UNFINISHED = (State.WAITING, State.ACTIVE, State.DEFERRED, State.HOLD)
PARTWAY = (State.ACTIVE, State.DEFERRED, State.HOLD)
ENDED = (State.OK, State.HARD_FAIL, State.REJECTED)
COLOURS: dict[str, str] = {
    State.ACTIVE: "cyan",
    State.DEFERRED: "yellow",
    State.HOLD: "blue",
    State.OK: "green",
    State.HARD_FAIL: "red",
    State.REJECTED: "red",
}
MAX_PATCH = 16 << 20
COUNTED = ("failed", "crashed", "orphaned")


def find(spool: "Spool", given: str) -> "Job":
    """Return the job of an id, a unique prefix or an arrival's name, without reading all that waits if that can be.

    An arrival's id is a digest of its contents, so looking for one among 100,000 reads them all. But most are named
    after their id, and 12 digits, what a list shows, that begin the id of a claimed job begin no other's.
    """
    if not re.fullmatch(r"[0-9a-f]{12,24}", given):
        return spool.find(given)
    queue = glob.escape(str(spool.path))
    places = [f"{queue}/{where}" for where in (*PARTWAY, "processed/*/*")]
    claimed = {os.path.basename(path) for place in places for path in glob.iglob(f"{place}/{given}*")}
    if len(claimed) == 1:
        return spool.find(claimed.pop())
    if not claimed:
        for prefix in ("handoff-", "challenger_"):
            with suppress(BadInput, FileNotFoundError):
                job = spool.find(f"{prefix}{given}.json")
                if job.id == given:
                    return job
    return spool.find(given)


def steadily(spool: "Spool", job_id: str, read: Callable[["Job"], T]) -> T:
    """Return `read(job)`, having found the job anew whenever it moved away meanwhile; Forbidden for another user's."""
    try:
        for _ in range(20):
            job = find(spool, job_id)
            with suppress(FileNotFoundError, NotADirectoryError):
                return read(job)
        return read(find(spool, job_id))
    except PermissionError:
        fix = "ask who handed it in, or a member of the group repairlab, who may read all results"
        raise Forbidden(f"job {job_id} is another user's", fix=fix) from None


def row(job: "Job") -> dict[str, Any]:
    """Return what `list` says of a job."""
    events = job.attempts()
    since = job.since
    return {
        "id": job.id,
        "state": str(job.state),
        "since": since,
        "age_s": round(max(0.0, time.time() - since.timestamp()), 3),
        "attempts": sum(event["event"] == "started" for event in events),
        "failures": failures(events),
        "wall_s": round(worked(events), 3),
        "priority": job.priority,
        "lineage": job.lineage,
        "submitter": job.submitter,
        "name": job.name,
        "not_before": job.not_before,
        "reason": reason(job, events),
        "path": job.path,
    }


def rows(spool: "Spool", *states: State) -> Iterator[dict[str, Any]]:
    """Yield `row` of every job that we may read; one that moves meanwhile is left out, it will be elsewhere."""
    for job in spool.jobs(*states):
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            yield row(job)


def failures(events: list[dict[str, Any]]) -> int:
    """Return how many counted failures there were since the job was last forgiven."""
    count = 0
    for event in events:
        count = 0 if event["event"] == "retried" else count + (event["event"] in COUNTED)
    return count


def worked(events: list[dict[str, Any]]) -> float:
    """Return the seconds that all attempts took together, by the boot clock; one cut short by a reboot counts none."""
    total = 0.0
    for begin, end in itertools.pairwise(events):
        if begin["event"] == "started" and begin.get("boot_id") == end.get("boot_id"):
            with suppress(KeyError, TypeError):
                total += max(0.0, end["boottime_s"] - begin["boottime_s"])
    return total


def reason(job: "Job", events: list[dict[str, Any]]) -> str | None:
    """Return in one line why the job is where it is, for a repaired one how; None where that needs no words."""
    if job.state in ENDED:
        told = job.reason() or (events[-1] if events and events[-1]["event"] == "finished" else {})
        return sentence(told) or None
    if events and job.state in (State.DEFERRED, State.HOLD):
        return sentence(events[-1]) or events[-1]["event"]
    return None


def sentence(told: dict[str, Any]) -> str:
    """Return `field: reason (why)` or `field: reason; fix` of a reason or an event, as far as they are there."""
    field, why, fix = (str(told.get(key) or "") for key in ("field", "why", "fix"))
    text = str(told.get("reason") or why)
    more = f" ({why})" if why and why != text else ""
    return (f"{field}: " if field else "") + text + more + (f"; {fix}" if fix and (field or not why) else "")


def contents(directory: str | Path, name: str, limit: int = MAX_PATCH) -> bytes | None:
    """Return the bytes of a regular file in a job's directory, at most `limit`; None where there is none."""
    path = Path(directory) / name
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None  # whatever was dropped is kept as it is: a FIFO, a link, a directory
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(limit)


def telemetry(job: "Job") -> dict[str, Any] | None:
    """Return what the agent said of its last finished attempt, None where it said nothing that can be read."""
    from repairlab import documents

    raw = None if job.state is State.WAITING else contents(job.path, "telemetry.json")
    if raw is None:
        return None
    try:
        return documents.parse(raw, what="telemetry", max_bytes=MAX_PATCH)
    except RepairLabError:
        return None


def patch(job: "Job") -> bytes | None:
    """Return the verified patch."""
    return None if job.state is State.WAITING else contents(job.path, "patch.diff")


def whole(job: "Job") -> dict[str, Any]:
    """Return everything that `show` says of a job."""
    diff = patch(job)
    found = row(job)
    return {
        **found,
        "history": job.attempts(),
        "explanation": job.reason(),
        "document": document(job),
        "telemetry": telemetry(job),
        "patch": None if diff is None else diff.decode("utf-8", "surrogateescape"),
        "patch_path": None if diff is None else f"{job.path}/patch.diff",
    }


def document(job: "Job") -> dict[str, Any] | str | None:
    """Return the handoff as an object, or its bytes as text where it is none; None where it cannot be read."""
    from repairlab import documents

    try:
        raw = job.document()
        return documents.parse(raw)
    except RepairLabError:
        head = contents(os.path.dirname(job.path), os.path.basename(job.path)) if job.state is State.WAITING else None
        raw = head or contents(job.path, "job.json", 4096) or b""
        return raw[:4096].decode("utf-8", "surrogateescape") or None


def when(event: dict[str, Any]) -> datetime | None:
    """Return the instant of an event."""
    with suppress(ValueError, KeyError, TypeError):
        return datetime.fromisoformat(event["at"]).astimezone(UTC)
    return None
