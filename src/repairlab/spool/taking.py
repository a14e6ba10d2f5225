"""taking: how an arrival or a parked job becomes a claim of ours.

An arrival, good or bad, is claimed in these steps; the step after which a claimer died decides who mends it:

    look, lease      nothing has happened
    mkdir active/ID  an empty directory, unlocked: the reaper removes it; the arrival waits untouched
    flock, verify    the reaper may have removed or another claimer made the directory: then we are the ones to yield
    let read         its submitter may read what is made in it from here on, where the queue is shared by an ACL
    write claim      from here the gate is firm: the id cannot move anywhere else (see tree)
    look for the id  elsewhere: then the arrival is a duplicate and is renamed into that job's duplicates/
    rename in        the job is ours; verified to be the very file that was looked at, or put back
    private copy     of a file that somebody else could still change

Nothing is fsynced except the private copy of another user's document, and whose it was: a claim lost in a power cut is
an arrival again, or an orphan.
Costs, beside `look`: mkdir, open, flock, stat, open, write, close, 9 lookups, renameat2, stat; for another user's also
getxattr, two setxattr where the queue is shared, and the private copy with its fsyncs.
"""

import errno
import os
import secrets
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from repairlab import access
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.spool.arrival import Arrival, is_foreign, lease, look
from repairlab.spool.claim import Claim
from repairlab.spool.disk import DIRECTORY, rename_new, trouble
from repairlab.spool.history import rfc3339
from repairlab.spool.job import encode_facts, facts_of, read_document, read_facts
from repairlab.spool.policy import State
from repairlab.spool.tree import CLAIM, DUPLICATES, JOB, Tree, exists_at, lock, same_file

BUSY_S = 0.05  # another process holds the gate of the id for some microseconds
WRITING_S = 0.25  # the producer still has the file open; its close is hinted, this is for where hints fail
DUPLICATES_KEPT = 100
_NAME_MAX = 255  # bytes
_IMMOVABLE = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV)

Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a waiting file looked like, and since when (seconds of CLOCK_BOOTTIME)."""

    signature: Signature
    since_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of trying to take a job: a claim, or why there is none.

    `retry_s` is set when trying again later can help. `duplicate_of` and `stuck` name what happened for good. `exposed`
    says that in a shared queue others could read the document while it waited.
    """

    claim: Claim | None = None
    retry_s: float | None = None
    seen: Seen | None = None
    duplicate_of: str | None = None
    stuck: str = ""
    exposed: bool = False
    inode: tuple[int, int, int] = (0, 0, 0)


GONE = Taken()
BUSY = Taken(retry_s=BUSY_S)


def take_arrival(tree: Tree, name: str, seen: Seen | None = None) -> Taken:
    """Try to claim the arrival `name`; TemporaryFailure (the arrival left as it was) when the disk is full."""
    read = False
    with trouble(f"claim {name!r}"):
        try:
            with look(tree, name) as arrival:
                read = True
                return _take(tree, arrival, seen)
        except FileNotFoundError:
            return GONE
        except BlockingIOError:
            return Taken(retry_s=WRITING_S)  # its owner has a write lease on it, for lease-break-time at the longest
        except OSError as error:
            if read or error.errno != errno.EIO:
                raise
            # One unreadable block must neither count against the job nor stop the others.
            status = os.stat(f"{tree.path}/{name}", follow_symlinks=False)
            return Taken(stuck=f"cannot be read: {error.strerror}", inode=identity(status))


def _take(tree: Tree, arrival: Arrival, seen: Seen | None) -> Taken:
    now = _signature(arrival.status)
    seen = seen if seen and seen.signature == now else Seen(now, tree.clock.boottime())
    wait_s = _unsettled_s(tree, arrival, seen)
    return Taken(retry_s=wait_s, seen=seen) if wait_s else _through_gate(tree, arrival)


def identity(status: os.stat_result) -> tuple[int, int, int]:
    """Return what a stuck file is remembered by; a chmod or chown by its owner makes it another one."""
    return (status.st_dev, status.st_ino, status.st_ctime_ns)


def _signature(status: os.stat_result) -> Signature:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _unsettled_s(tree: Tree, arrival: Arrival, seen: Seen) -> float:
    """Return how long to leave the file alone, 0 when it may be taken; a lease is held from here on, if granted."""
    if arrival.fd is None and not stat.S_ISREG(arrival.status.st_mode):
        return 0.0
    # mv and install make a file unreadable for others and give it its mode when it is complete: let that settle too.
    leased = lease(arrival.fd) if arrival.fd is not None else None
    if leased is False:
        return WRITING_S
    if leased and (arrival.problem or not arrival.half_written):
        return 0.0
    # ctime cannot be forged, but the clock can be stepped: then what this process saw counts.
    age_s = max(tree.clock.wall() - arrival.status.st_ctime, tree.clock.boottime() - seen.since_s)
    return max(0.0, tree.policy.settle_s - age_s)


def _through_gate(tree: Tree, arrival: Arrival) -> Taken:
    job_id = arrival.id
    path = tree.at(State.ACTIVE, job_id)
    try:
        tree.disk.do("claim.mkdir", os.mkdir, path)
    except FileExistsError:
        return _duplicate_of_active(tree, arrival, path)
    try:
        fd = tree.disk.do("claim.lock", lock, path)
    except FileNotFoundError:
        return BUSY  # the reaper took our empty directory for a dead claimer's
    if fd is None:
        with suppress(OSError):  # whoever looks into it must not leave it in the way; only an empty one goes
            os.rmdir(path)
        return BUSY
    try:
        return _claim_in(tree, arrival, job_id, fd)
    except BaseException:
        _close_gate(tree, path, fd)
        raise


def _claim_in(tree: Tree, arrival: Arrival, job_id: str, fd: int) -> Taken:
    taken = _enter(tree, arrival, job_id, fd, facts_of(arrival) | _owner(tree))
    if taken.claim is None:
        _close_gate(tree, tree.at(State.ACTIVE, job_id), fd)
    return taken


def _enter(tree: Tree, arrival: Arrival, job_id: str, fd: int, facts: dict[str, Any]) -> Taken:
    if exists_at(fd, JOB):
        return BUSY  # not our directory: a job moved in before our flock, and its owner died
    shared = False
    if arrival.submitter != os.geteuid():
        # Before the first file: entries are handed down at creation, and a job without them cannot be told from one
        # that nobody else has a part in.
        shared = tree.disk.do("claim.access", access.let_read, fd, arrival.submitter)
    try:
        # Once the document is our own copy nothing but this tells whose it was, and the id is made of that.
        tree.disk.write("claim.facts", CLAIM, encode_facts(facts), dir_fd=fd, sync=is_foreign(arrival.status))
    except (FileExistsError, FileNotFoundError):
        return BUSY
    for _, place in tree.resting(job_id):
        return _duplicate_of_resting(tree, arrival, place)
    try:
        tree.disk.do("claim.rename", rename_new, f"{tree.path}/{arrival.name}", JOB, dst_dir_fd=fd)
    except OSError as error:
        return _not_moved(arrival, error)
    if not _is_what_we_saw(arrival, fd, JOB):
        _put_back(tree, fd, JOB, arrival.name)
        return Taken(retry_s=WRITING_S)
    if is_foreign(arrival.status) and not arrival.problem:
        _privatise_or_put_back(tree, arrival, fd)
    exposed = shared and bool(arrival.status.st_mode & stat.S_IROTH)
    return Taken(claim=Claim(tree, job_id, fd, facts), exposed=exposed)


def _owner(tree: Tree) -> dict[str, Any]:
    return _process(os.getpid()) | {"boot_id": tree.clock.boot_id, "claimed": rfc3339(tree.clock.wall())}


@cache
def _process(pid: int) -> dict[str, Any]:
    """Return what names this process; its start in clock ticks since boot makes the pid unique in a boot."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        started = int(file.read().rpartition(b")")[2].split()[19])
    return {"pid": pid, "started": started, "host": socket.gethostname()}


def _not_moved(arrival: Arrival, error: OSError) -> Taken:
    if error.errno in (errno.ENOENT, errno.EEXIST):
        return BUSY  # ENOENT: the arrival is gone, or the directory that it was to go to; the next look tells
    if error.errno in _IMMOVABLE:
        # A directory of somebody else's cannot be renamed without write permission on itself.
        why = f"cannot be moved out of the queue: {error.strerror}"
        return Taken(stuck=why, inode=identity(arrival.status))
    raise error


def _is_what_we_saw(arrival: Arrival, dir_fd: int, name: str) -> bool:
    """Tell whether the renamed file is the one that was read, unchanged and with nobody about to change it."""
    now = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if not os.path.samestat(now, arrival.status):
        return False
    if arrival.fd is None or arrival.problem:
        return True
    if (now.st_size, now.st_mtime_ns) != (arrival.status.st_size, arrival.status.st_mtime_ns):
        return False
    # Asking again fails while somebody waits in open(2) for our lease to end: he meant the file as an arrival.
    return lease(arrival.fd) is not False


def _put_back(tree: Tree, dir_fd: int, name: str, arrival: str) -> None:
    """Make the file an arrival again, under another name if a new one has taken its own."""
    try:
        rename_new(name, f"{tree.path}/{arrival}", src_dir_fd=dir_fd)
    except FileExistsError:
        fresh = f"{tree.path}/{tree.prefix}-{secrets.token_hex(8)}{tree.suffix}"
        rename_new(name, fresh, src_dir_fd=dir_fd)


def _privatise_or_put_back(tree: Tree, arrival: Arrival, fd: int) -> None:
    try:
        _privatise(tree, fd, arrival.raw)
    except BaseException:
        _put_back(tree, fd, JOB, arrival.name)
        raise


def _privatise(tree: Tree, fd: int, raw: bytes) -> None:
    """Replace the file by our own copy of what was read: its owner may still have it open or linked.

    The copy is fsynced first, since it replaces the only durable original.
    """
    tree.disk.replace("claim.private", JOB, raw, dir_fd=fd, sync=True)


def _privatise_parked(tree: Tree, fd: int) -> None:
    """Do the same for a job whose first claimer died before it could."""
    try:
        if is_foreign(os.stat(JOB, dir_fd=fd, follow_symlinks=False)):
            _privatise(tree, fd, read_document(JOB, tree.policy.max_bytes, dir_fd=fd))
    except (BadInput, FileNotFoundError):
        return  # whoever reads it will be told


def _close_gate(tree: Tree, path: str, fd: int) -> None:
    """Undo the gate while its lock is ours; what fails here is the reaper's."""
    try:
        with suppress(OSError):
            if not exists_at(fd, JOB) and same_file(fd, path):
                hand_in_duplicates(tree, fd)
                with suppress(FileNotFoundError):
                    tree.disk.do("gate.unlink", os.unlink, CLAIM, dir_fd=fd)
                tree.disk.do("gate.rmdir", os.rmdir, path)
    finally:
        os.close(fd)


def hand_in_duplicates(tree: Tree, fd: int) -> None:
    """Make arrivals again of what was filed with a claim that never came about: the job that they repeat is not there.

    Whoever is about to file one more finds the directory gone and looks again.
    """
    with suppress(FileNotFoundError):
        kept = os.open(DUPLICATES, DIRECTORY, dir_fd=fd)
        try:
            for name in os.listdir(kept):
                fresh = f"{tree.path}/{tree.prefix}-{secrets.token_hex(8)}{tree.suffix}"
                tree.disk.do("gate.duplicate", rename_new, name, fresh, src_dir_fd=kept)
        finally:
            os.close(kept)
        os.rmdir(DUPLICATES, dir_fd=fd)


def _duplicate_of_active(tree: Tree, arrival: Arrival, path: str) -> Taken:
    """File the arrival with the job in active/; its directory is followed by descriptor wherever it moves."""
    try:
        fd = os.open(path, DIRECTORY)
    except FileNotFoundError:
        return BUSY
    try:
        return _file_duplicate(tree, arrival, path, fd) if exists_at(fd, JOB) else BUSY
    finally:
        os.close(fd)


def _duplicate_of_resting(tree: Tree, arrival: Arrival, place: str) -> Taken:
    """File the arrival with a job that rests; its lock keeps the job from being removed meanwhile."""
    try:
        fd = lock(place)
    except FileNotFoundError:
        return BUSY
    if fd is None:
        return BUSY
    try:
        return _file_duplicate(tree, arrival, place, fd)
    finally:
        os.close(fd)


def _file_duplicate(tree: Tree, arrival: Arrival, place: str, fd: int) -> Taken:
    with suppress(FileExistsError):
        tree.disk.do("duplicate.mkdir", os.mkdir, DUPLICATES, dir_fd=fd)
    kept = os.open(DUPLICATES, DIRECTORY, dir_fd=fd)
    try:
        # Beyond the bound each replaces the one before: a producer in a loop must not fill the disk.
        full = len(os.listdir(kept)) >= DUPLICATES_KEPT
        target = "latest" if full else os.fsdecode(os.fsencode(f"{secrets.token_hex(4)}-{arrival.name}")[:_NAME_MAX])
        if full:  # rename(2) of one link over another of the same file does nothing
            with suppress(FileNotFoundError):
                os.unlink(target, dir_fd=kept)
        tree.disk.do("duplicate.rename", os.rename, f"{tree.path}/{arrival.name}", target, dst_dir_fd=kept)
        if not _is_what_we_saw(arrival, kept, target):
            _put_back(tree, kept, target, arrival.name)
            return Taken(retry_s=WRITING_S)
    except OSError as error:
        return _not_moved(arrival, error)
    finally:
        os.close(kept)
    return Taken(duplicate_of=os.path.basename(place))


def take_parked(tree: Tree, job_id: str, path: str) -> Taken:
    """Try to claim the job directory at `path`; TemporaryFailure (nothing moved) when the disk is full.

    The lock comes before the rename, so there is no window in which the job is active and unowned. Costs open, flock,
    2 stat, renameat2, read of claim and history, and the new claim (open, write, close, rename).
    """
    with trouble(f"claim job {job_id}"):
        try:
            fd = tree.disk.do("parked.lock", lock, path)
        except (FileNotFoundError, NotADirectoryError):
            return GONE
        if fd is None:
            return BUSY
        try:
            return _move_in(tree, job_id, path, fd)
        except BaseException:
            os.close(fd)
            raise


def _move_in(tree: Tree, job_id: str, path: str, fd: int) -> Taken:
    active = tree.at(State.ACTIVE, job_id)
    try:
        tree.disk.do("parked.rename", rename_new, path, active)
    except FileExistsError:
        os.close(fd)
        return BUSY  # a duplicate's claimer holds the gate for the moment
    except OSError as error:
        if error.errno not in _IMMOVABLE or not all(_may_write_around(place) for place in (path, active)):
            raise  # it is not the job that is in the way, and all can go on once the queue's directories are mended
        inode = identity(os.fstat(fd))
        os.close(fd)
        return Taken(stuck=f"cannot be moved: {error.strerror}", inode=inode)  # in the lower layer of an overlay
    facts = read_facts(tree, job_id, ".", dir_fd=fd) | _owner(tree)
    try:
        foreign = facts["submitter"] != os.geteuid()
        # Parked before the queue had its list: else what is written from now on is read by whoever could read then.
        tree.disk.do("parked.access", access.catch_up, fd, tree.state(State.ACTIVE), facts["submitter"])
        tree.disk.replace("parked.facts", CLAIM, encode_facts(facts), dir_fd=fd, sync=foreign)
        _privatise_parked(tree, fd)
        claim = Claim(tree, job_id, fd)
        _note_manual_move(claim, path)
    except (OSError, TemporaryFailure):
        rename_new(active, path)
        raise
    return Taken(claim=claim)


def _may_write_around(path: str) -> bool:
    return os.access(os.path.dirname(path), os.W_OK | os.X_OK, effective_ids=True)


def _note_manual_move(claim: Claim, path: str) -> None:
    """Supersede an intent that an operator's `mv` has overruled, or a crash of ours would carry it out again."""
    intent = claim.history.intent
    if intent and f"/{intent['to']}/" not in path:
        claim.note("moved", taken_from=os.path.basename(os.path.dirname(path)))
