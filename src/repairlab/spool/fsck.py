"""fsck: prove that every id is in exactly one place, and that every place holds a whole job.

A check that meets a moving job looks again before it says so: each suspicion is confirmed on a second look. Mended is
only what cannot lose anything (`MENDED`); everything else is said, with what a person does about it.

Findings: `missing` a directory of the queue; `twice` an id in two places; `orphan` a job in active/ whose owner is
dead; `unclaimed` an unfinished claim; `no_document`, `no_reason`, `torn` a job lacks its document, its reason, the end
of its history; `wrong_id` a document that does not belong to its id; `misfiled` a file among the duplicates of another
job; `not_a_job` something else in a directory of jobs; `staged` leftovers of interrupted writes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from repairlab.errors import BadInput, RepairLabError
from repairlab.spool import history, reaper
from repairlab.spool.arrival import id_of
from repairlab.spool.claim import Claim
from repairlab.spool.disk import EXPIRED, read_file, remove_staged, rename_new
from repairlab.spool.job import read_document, read_facts
from repairlab.spool.policy import PARKED, TERMINAL, State
from repairlab.spool.tree import CLAIM, DAY, DUPLICATES, ID, JOB, REASON, Tree, lock

_OURS = frozenset({"tmp", "active", "deferred", "hold", "processed", "fingerprints"})
_CLAIM_S = 1.0  # a live claimer fills its directory within microseconds


@dataclass(frozen=True, slots=True)
class Stray:
    """A file that the queue does not know what to do with."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `mended` says that it is now."""

    kind: str
    path: str
    message: str
    fix: str
    job_id: str = ""
    mended: bool = False


Mend = Callable[[], object]


def strays(tree: Tree) -> Iterator[Stray]:
    """Yield what lies in the queue directory and is no job."""
    for entry in os.scandir(tree.path):
        if entry.name in _OURS or entry.name.startswith(EXPIRED) or tree.arrives(entry.name):
            continue
        yield Stray(entry.path, f"its name is not {tree.prefix}…{tree.suffix}")


def check(tree: Tree, mend: bool) -> list[Finding]:
    """Return all findings, those that are safe to mend mended if so wished."""
    findings = [_mended(f, partial(os.makedirs, f.path, exist_ok=True), mend) for f in _missing(tree)]
    if findings and not mend:
        return findings
    places: dict[str, list[str]] = {}
    gates = _gates(tree)
    for state, directory in _directories(tree):
        for name in sorted(os.listdir(directory)):
            path = f"{directory}/{name}"
            if ID.fullmatch(name):
                places.setdefault(name, []).append(path)
                findings += _check_job(tree, state, name, path, mend)
            elif not (state in TERMINAL and DAY.fullmatch(name)):
                findings.append(Finding("not_a_job", path, f"{name} is not a job", "move it away"))
    return findings + _twice(places) + _unclaimed(tree, gates, mend)


def _missing(tree: Tree) -> Iterator[Finding]:
    for directory in tree.directories():
        if not os.path.isdir(directory):
            yield Finding("missing", directory, "the directory is missing", "create it, or run with mend")


def _directories(tree: Tree) -> Iterator[tuple[State, str]]:
    for state in (State.ACTIVE, *PARKED):
        yield state, tree.state(state)
    for state in TERMINAL:
        yield state, tree.state(state)
        for day in tree.days(state):
            yield state, f"{tree.state(state)}/{day}"


def _mended(finding: Finding, how: Mend, mend: bool) -> Finding:
    if not mend:
        return finding
    try:
        how()
    except (OSError, RepairLabError) as error:
        return replace(finding, message=f"{finding.message}; it could not be mended: {error}")
    return replace(finding, mended=True)


def _twice(places: dict[str, list[str]]) -> list[Finding]:
    findings = []
    for job_id, paths in places.items():
        # Two rounds: a job that moves from one place to the next is met in both of them, but only in one round.
        both = len(paths) > 1 and all(os.path.lexists(path) for _ in range(2) for path in paths)
        if both:
            fix = "compare them, then remove the one that is wrong"
            findings.append(Finding("twice", paths[0], f"job {job_id} is in {' and '.join(paths)}", fix, job_id))
    return findings


def _gates(tree: Tree) -> dict[str, int]:
    """Return the directories of active/ that lack a job for longer than a claim takes, with their inodes."""
    found = {}
    for name in os.listdir(tree.state(State.ACTIVE)):
        path = tree.at(State.ACTIVE, name)
        with suppress(FileNotFoundError):
            status = os.stat(path)
            aged = abs(tree.clock.wall() - status.st_mtime) > _CLAIM_S
            if ID.fullmatch(name) and aged and not os.path.lexists(f"{path}/{JOB}"):
                found[name] = status.st_ino
    return found


def _unclaimed(tree: Tree, before: dict[str, int], mend: bool) -> list[Finding]:
    """Return the gates that are still there, the same, and unlocked: a live claimer would be done by now."""
    findings = []
    after = _gates(tree)
    for job_id in (name for name, inode in before.items() if after.get(name) == inode):
        path = tree.at(State.ACTIVE, job_id)
        with suppress(FileNotFoundError):
            if (fd := lock(path)) is not None:
                os.close(fd)
                fix = "a watcher does this within seconds"
                finding = Finding("unclaimed", path, f"job {job_id}: an unfinished claim", fix, job_id)
                findings.append(_mended(finding, partial(reaper.reap_one, tree, job_id), mend))
    return findings


def _check_job(tree: Tree, state: State, job_id: str, path: str, mend: bool) -> list[Finding]:
    if state is State.ACTIVE:
        return _check_active(tree, job_id, path, mend)
    try:
        fd = lock(path)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        return [] if gone else [Finding("not_a_job", path, str(error.strerror), "move it away", job_id)]
    if fd is None:
        return []  # moving, or its last worker still lives: not at rest, so not ours to judge
    try:
        return list(_check_resting(tree, state, job_id, path, fd, mend))
    finally:
        os.close(fd)


def _check_active(tree: Tree, job_id: str, path: str, mend: bool) -> list[Finding]:
    if not os.path.lexists(f"{path}/{JOB}"):
        return []
    try:
        fd = lock(path)
    except OSError:
        return []
    if fd is None:
        return []
    os.close(fd)
    finding = Finding("orphan", path, f"job {job_id}: its owner is dead", "a watcher does this within seconds", job_id)
    return [_mended(finding, partial(reaper.reap_one, tree, job_id), mend)]


def _check_resting(tree: Tree, state: State, job_id: str, path: str, fd: int, mend: bool) -> Iterator[Finding]:
    names = os.listdir(fd)
    if JOB not in names:
        yield Finding("no_document", path, f"job {job_id} has no document", "drop it", job_id)
    elif why := _wrong_id(tree, job_id, fd, CLAIM in names):
        yield Finding("wrong_id", path, f"job {job_id}: {why}", "look who changed it, then drop and submit it", job_id)
    if any(name.startswith(".") for name in names):
        finding = Finding(
            "staged", path, f"job {job_id} has leftovers of an interrupted write", "run with mend", job_id
        )
        yield _mended(finding, lambda: remove_staged(fd), mend)
    if history.NAME in names and not _ends_whole(fd):
        finding = Finding("torn", path, f"job {job_id}: the history ends in a torn line", "run with mend", job_id)
        yield _mended(finding, lambda: _seal(tree, fd), mend)
    if state in (State.REJECTED, State.HARD_FAIL) and REASON not in names:
        finding = Finding("no_reason", path, f"job {job_id} does not say why", "run with mend", job_id)
        yield _mended(finding, lambda: _write_reason(tree, job_id, state, fd), mend)
    if DUPLICATES in names:
        yield from _check_duplicates(tree, job_id, path, fd, mend)


def _wrong_id(tree: Tree, job_id: str, fd: int, has_facts: bool) -> str:
    """Say why the document cannot be the one that the id was made of; empty when it can."""
    facts = read_facts(tree, job_id, ".", dir_fd=fd)
    try:
        raw = read_document(JOB, tree.policy.max_bytes, dir_fd=fd)
    except BadInput:
        return ""  # the id of what cannot be read comes from an inode that has a new ctime since
    if not has_facts or id_of(raw, int(facts["submitter"])) == job_id or facts.get("odd"):
        return ""
    return "the document is not the one that was handed in"


def _ends_whole(fd: int) -> bool:
    raw = read_file(history.NAME, history.MAX_BYTES, dir_fd=fd)
    return not raw or raw.endswith(b"\n")


def _seal(tree: Tree, fd: int) -> None:
    events = history.read(history.NAME, dir_fd=fd)
    text = b"".join(map(history.dumps, events))
    tree.disk.replace("fsck.seal", history.NAME, text, dir_fd=fd, sync=True)


def _write_reason(tree: Tree, job_id: str, state: State, fd: int) -> None:
    claim = Claim(tree, job_id, os.dup(fd))
    try:
        intent = claim.history.intent or {"reason": "unknown: the history does not say"}
        claim.put_reason(intent, state)
    finally:
        claim.close()


def _check_duplicates(tree: Tree, job_id: str, path: str, fd: int, mend: bool) -> Iterator[Finding]:
    """A crash just after a producer replaced a duplicate by another document may have filed that one wrongly."""
    submitter = int(read_facts(tree, job_id, ".", dir_fd=fd)["submitter"])
    for name in os.listdir(f"{path}/{DUPLICATES}"):
        where = f"{path}/{DUPLICATES}/{name}"
        with suppress(OSError, BadInput):
            owner = os.stat(where, follow_symlinks=False).st_uid
            raw = read_document(where, tree.policy.max_bytes)
            if job_id not in (id_of(raw, owner), id_of(raw, submitter)):
                finding = Finding(
                    "misfiled", where, f"{name} is no duplicate of job {job_id}", "hand it in again", job_id
                )
                yield _mended(finding, partial(_hand_in, tree, where), mend)


def _hand_in(tree: Tree, path: str) -> None:
    rename_new(path, f"{tree.path}/{tree.prefix}-{os.path.basename(path)[:8]}-again{tree.suffix}")
