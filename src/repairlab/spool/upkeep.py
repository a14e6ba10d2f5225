"""upkeep: the removal of old ended jobs, and the proof that the tree is sound.

`expired` finds terminal jobs by day bucket: a bucket whose day is not over at the age limit is not even opened, one
wholly older is taken without a look at its jobs' times, and only the bucket of the limit itself is judged job by job.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from repairlab.spool.job import Job
from repairlab.spool.measure import usage
from repairlab.spool.operators import trash
from repairlab.spool.policy import TERMINAL, State
from repairlab.spool.tree import ID, Tree, lock


@dataclass(frozen=True, slots=True)
class Expired:
    """One ended job beyond its age, with what it occupies; `error` says why it could not be removed."""

    path: Path
    bytes: int
    inodes: int
    job_id: str
    state: State
    error: str = ""


def expired(tree: Tree, older_than: timedelta, now: datetime) -> Iterator[Expired]:
    """Yield the terminal jobs that ended at or before `now - older_than`, oldest days first."""
    limit = now.astimezone(UTC) - older_than
    for state in TERMINAL:
        for day in tree.days(state):
            if day <= limit.date().isoformat():
                yield from _expired_in(tree, state, day, limit)


def _expired_in(tree: Tree, state: State, day: str, limit: datetime) -> Iterator[Expired]:
    directory = f"{tree.state(state)}/{day}"
    for name in sorted(os.listdir(directory)):
        path = f"{directory}/{name}"
        if not ID.fullmatch(name):
            continue
        try:
            if day < limit.date().isoformat() or Job(tree, name, state, path).since <= limit:
                one = Expired(Path(path), *usage(path), name, state)
            else:
                continue
        except FileNotFoundError:  # it moved while it was read
            continue
        except OSError as error:
            one = Expired(Path(path), 0, 0, name, state, f"{error.strerror}: {error.filename}")
        yield one


def expire(tree: Tree, older_than: timedelta, now: datetime) -> Iterator[Expired]:
    """Remove what `expired` yields, one by one, and empty buckets; safe beside everything else."""
    for one in expired(tree, older_than, now):
        error = one.error or _remove(tree, str(one.path))
        yield one if error is None else Expired(one.path, 0, 0, one.job_id, one.state, error)
    today = now.astimezone(UTC).date()
    for state in TERMINAL:
        for day in tree.days(state):
            if day < (today - timedelta(days=1)).isoformat():
                with suppress(OSError):  # not empty, or filled this very moment
                    os.rmdir(f"{tree.state(state)}/{day}")


def _remove(tree: Tree, path: str) -> str | None:
    """Remove a terminal job under its lock, so that no retry can be moving it out."""
    try:
        fd = lock(path)
    except FileNotFoundError:
        return None
    if fd is None:
        return "an operator is moving it"
    try:
        trash(tree, path)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    finally:
        os.close(fd)
    return None
