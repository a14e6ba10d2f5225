"""leftovers: what a cleanup takes out of a queue one by one: ended jobs that it has chosen, work directories, and
directories that somebody put where arrivals belong.

A work directory is of use to the attempt that made it and to nobody after; a job that has rested for long, parked or
ended, keeps its history and loses its `work/`. Everything is removed under the lock of the job's own directory and by
one rename, so that no claim, retry or release can be moving the job meanwhile.
"""

import os
from collections.abc import Iterator

from repairlab.spool import upkeep
from repairlab.spool.job import Job
from repairlab.spool.operators import trash
from repairlab.spool.policy import PARKED, TERMINAL
from repairlab.spool.spool import Spool
from repairlab.spool.tree import WORK, lock


def remove_ended(spool: Spool, path: str) -> str | None:
    """Remove the ended job at `path` if it still is there; return why it could not be removed."""
    return upkeep._remove(spool._tree, path)


def work_directories(spool: Spool) -> Iterator[tuple[Job, str]]:
    """Yield each job at rest that has a work directory, and that directory's path."""
    for job in spool.jobs(*PARKED, *TERMINAL):
        work = f"{job.path}/{WORK}"
        if os.path.isdir(work) and not os.path.islink(work):
            yield job, work


def directories(spool: Spool) -> Iterator[str]:
    """Yield the path of each directory with the name of an arrival.

    A watcher would have rejected what it can move; these are other users', and stay what they are until they go.
    """
    for entry in os.scandir(spool.path):
        if entry.is_dir(follow_symlinks=False) and spool._tree.arrives(entry.name):
            yield entry.path


def remove_work(spool: Spool, path: str) -> str | None:
    """Remove the work directory `path` unless its job is in somebody's hands; return why it could not be removed."""
    try:
        fd = lock(os.path.dirname(path))
    except FileNotFoundError:
        return None
    if fd is None:
        return "its job is in use"
    try:
        trash(spool._tree, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    finally:
        os.close(fd)
    return None
