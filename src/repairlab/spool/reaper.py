"""reaper: give back what dead processes left behind.

`reap` looks at every directory of active/ that nobody holds the lock of: an empty one is an unfinished claim and is
removed; one whose history ends in an intent is carried to where the intent says; any other is an orphan, deferred with
a growing pause and counted apart from failures. `sweep` removes what only wastes room.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from repairlab.errors import RepairLabError
from repairlab.spool import fingerprints
from repairlab.spool.claim import Claim
from repairlab.spool.disk import EXPIRED, remove_or_hand_over, remove_staged
from repairlab.spool.job import Job
from repairlab.spool.policy import State
from repairlab.spool.taking import hand_in_duplicates
from repairlab.spool.tree import CLAIM, ID, JOB, TMP, Tree, exists_at, lock


@dataclass(frozen=True, slots=True)
class Reaped:
    """One directory of active/ that was dealt with: `unclaimed`, `carried_on`, `orphaned` or `stuck`."""

    id: str
    what: str
    job: Job | None = None
    reason: str = ""


def reap(tree: Tree) -> Iterator[Reaped]:
    """Yield what was found of dead owners, each dealt with. Costs 4 system calls for each live job."""
    for name in os.listdir(tree.state(State.ACTIVE)):
        if not ID.fullmatch(name):
            continue
        try:
            reaped = reap_one(tree, name)
        except (RepairLabError, OSError) as error:
            reaped = Reaped(name, "stuck", reason=str(error))
        if reaped:
            yield reaped


def reap_one(tree: Tree, job_id: str) -> Reaped | None:
    """Deal with one directory of active/; None when its owner lives."""
    path = tree.at(State.ACTIVE, job_id)
    try:
        fd = tree.disk.do("reap.lock", lock, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if fd is None:
        return None
    if not exists_at(fd, JOB):
        return _remove_gate(tree, job_id, path, fd)
    try:
        claim = Claim(tree, job_id, fd)
    except BaseException:
        os.close(fd)  # a lock that outlived its failure would pass for a living owner
        raise
    return _carry_on(claim)


def _remove_gate(tree: Tree, job_id: str, path: str, fd: int) -> Reaped | None:
    """Remove an unfinished claim while its lock is ours: its claimer, if it lives, sees that and starts over."""
    try:
        hand_in_duplicates(tree, fd)
        with suppress(FileNotFoundError):
            tree.disk.do("reap.unlink", os.unlink, CLAIM, dir_fd=fd)
        remove_staged(fd)
        tree.disk.do("reap.rmdir", os.rmdir, path)
    finally:
        os.close(fd)
    return Reaped(job_id, "unclaimed")


def _carry_on(claim: Claim) -> Reaped:
    try:
        intent = claim.history.intent
        if intent:
            claim.history.seal()  # an operator may have died in the middle of another one
            return Reaped(claim.id, "carried_on", claim.settle(intent))
        return Reaped(claim.id, "orphaned", claim.orphaned())
    finally:
        claim.close()


def sweep(tree: Tree) -> list[str]:
    """Remove stale staging files, interrupted removals and old fingerprints; return the paths that are gone.

    What another user's directories are in the way of is handed over (see `disk.remove_or_hand_over`).
    """
    directory, gone = f"{tree.path}/{TMP}", []
    for entry in os.scandir(directory):
        with suppress(OSError):
            age_s = tree.clock.wall() - entry.stat(follow_symlinks=False).st_ctime
            over = entry.name.startswith(("trash-", EXPIRED))
            if (over or age_s > tree.policy.tmp_ttl_s) and tree.disk.do(
                "sweep.remove", remove_or_hand_over, entry.path
            ):
                gone.append(entry.path)
    for entry in os.scandir(tree.path):
        if entry.name.startswith(EXPIRED):  # a directory that could not be moved, so that it is no arrival any more
            with suppress(OSError):
                tree.disk.do("sweep.remove", remove_or_hand_over, entry.path)
    fingerprints.prune(tree)
    return gone
