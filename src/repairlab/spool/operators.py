"""operators: what a person does to one job, each through the gate like everything else.

`seize` locks the job wherever it rests and makes it active; the operation then is an ordinary leave. A person who is
killed in between leaves what a dead claimer leaves, for the reaper.
"""

import os
import secrets
from contextlib import closing

from repairlab.errors import BadInput, TemporaryFailure, Unavailable
from repairlab.spool import fingerprints
from repairlab.spool.arrival import look
from repairlab.spool.claim import Claim
from repairlab.spool.disk import EXPIRED, remove_or_hand_over, rename_new, trouble
from repairlab.spool.job import Job
from repairlab.spool.policy import TERMINAL, State
from repairlab.spool.taking import Taken, take_arrival, take_parked
from repairlab.spool.tree import JOB, TMP, Tree, busy, exists_at, lock


def hold(tree: Tree, job: Job, reason: str) -> Job:
    """Park a waiting or deferred job until it is released."""
    if job.state is State.HOLD:
        return job
    if job.state in TERMINAL:
        raise BadInput(f"job {job.id} has ended as {job.state}", field="id", fix="retry it first")
    with closing(seize(tree, job)) as claim:
        return claim.hold(reason)


def release(tree: Tree, job: Job) -> Job:
    """Let a held job go on; it is due at once, and nothing is forgiven."""
    if job.state is not State.HOLD:
        raise BadInput(f"job {job.id} is {job.state}, not held", field="id", fix="release only what is held")
    with closing(seize(tree, job)) as claim:
        return claim.leave("released", State.DEFERRED, delay_s=0.0)


def retry(tree: Tree, job: Job) -> Job:
    """Forgive a job and the fingerprints that it failed with, and make it due at once."""
    if job.state is State.WAITING:
        return job
    with closing(seize(tree, job)) as claim:
        for name in {str(entry["fingerprint"]) for entry in claim.history.events if entry.get("fingerprint")}:
            with trouble("forgive the fingerprint"):
                fingerprints.forgive(tree, name, job.id)
        return claim.leave("retried", State.DEFERRED, delay_s=0.0)


def drop(tree: Tree, job: Job) -> None:
    """Remove a job and all that belongs to it, for good."""
    if job.state is State.WAITING:
        _drop_arrival(tree, job)
        return
    claim = seize(tree, job)
    try:
        with trouble(f"drop job {job.id}"):
            trash(tree, str(claim.path))
    finally:
        claim.close()


def trash(tree: Tree, path: str) -> None:
    """Remove `path` so that it is there wholly or not at all: by one rename, then piece by piece."""
    token = secrets.token_hex(8)
    doomed = f"{tree.path}/{TMP}/trash-{token}"
    try:
        tree.disk.do("trash.rename", rename_new, path, doomed)
    except PermissionError:  # a directory of another user's: its `..` is not ours to change, its name here is
        doomed = f"{os.path.dirname(path)}/{EXPIRED}{token}"
        tree.disk.do("trash.rename", rename_new, path, doomed)
    tree.disk.do("trash.remove", remove_or_hand_over, doomed)  # a sweep removes it too; each leaves it to the other


def _drop_arrival(tree: Tree, job: Job) -> None:
    """An arrival has no history worth a claim; what its name holds now must be the job that was asked for."""
    try:
        with trouble(f"drop {job.name}"), look(tree, os.path.basename(job.path)) as arrival:
            if arrival.id != job.id:
                raise TemporaryFailure(f"{job.name} has just been replaced", fix="look again")
            trash(tree, job.path)
    except FileNotFoundError:
        raise TemporaryFailure(f"job {job.id} has just moved", fix="look again") from None


def seize(tree: Tree, job: Job) -> Claim:
    """Claim the job wherever it is; TemporaryFailure when somebody else has it."""
    if job.state is State.ACTIVE:
        return _seize_orphan(tree, job)
    if job.state is State.WAITING:
        return _seized(job, take_arrival(tree, os.path.basename(job.path)))
    return _seized(job, take_parked(tree, job.id, job.path))


def _seized(job: Job, taken: Taken) -> Claim:
    if taken.claim:
        return taken.claim
    if taken.stuck:
        raise Unavailable(f"{job.name} {taken.stuck}", fix="move it away by hand")
    if taken.duplicate_of:
        raise BadInput(f"{job.name} is a duplicate of job {taken.duplicate_of}", field="id", fix="name that job")
    if taken.seen:
        raise TemporaryFailure(f"{job.name} is still being written", fix="try again when it has settled")
    if taken.retry_s is not None:
        raise busy(job.id)
    raise TemporaryFailure(f"job {job.id} has just moved", fix="look again")


def _seize_orphan(tree: Tree, job: Job) -> Claim:
    fd = lock(job.path)
    if fd is None:
        raise busy(job.id)
    if not exists_at(fd, JOB):
        os.close(fd)
        raise busy(job.id)
    return Claim(tree, job.id, fd)
