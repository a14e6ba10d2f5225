"""spool: one queue, whose directories are its state; see the package for the protocol."""

import os
import random as randomness
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from repairlab.errors import BadInput, Forbidden, Unavailable
from repairlab.spool import fingerprints, fsck, operators, reaper, upkeep
from repairlab.spool.arrival import look
from repairlab.spool.backlog import Backlog
from repairlab.spool.claim import Claim
from repairlab.spool.disk import Disk, Hook
from repairlab.spool.fingerprints import Fingerprint
from repairlab.spool.fsck import Finding, Stray
from repairlab.spool.history import Clock
from repairlab.spool.job import Job, facts_of
from repairlab.spool.ordering import keeps_order
from repairlab.spool.policy import PARKED, TERMINAL, Policy, State
from repairlab.spool.publish import publish
from repairlab.spool.reaper import Reaped
from repairlab.spool.tree import ID, ID_CHARS, JOB, Tree
from repairlab.spool.upkeep import Expired

_PREFIX_CHARS = 4


class Spool:
    """One queue directory. Any number of processes may use it at once; every method may be called at any time."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        pattern: str = "handoff*.json",
        policy: Policy | None = None,
        hook: Hook | None = None,
        random: Callable[[], float] | None = None,
        clock: Clock | None = None,
    ) -> None:
        prefix, star, suffix = pattern.partition("*")
        if not star or not prefix or "*" in suffix or "/" in pattern:
            raise ValueError(f"{pattern!r} is not a name with one star in it")
        self.policy = policy or Policy()
        root = os.path.abspath(path)
        disk = Disk(hook, ordered=keeps_order(root))
        chance = random or randomness.SystemRandom().random
        self._tree = Tree(root, prefix, suffix, self.policy, disk, clock or Clock(), chance)

    @property
    def path(self) -> Path:
        """The queue directory."""
        return Path(self._tree.path)

    @property
    def deferred(self) -> Path:
        """The directory of deferred jobs, which a watcher of file events watches beside the queue."""
        return Path(self._tree.state(State.DEFERRED))

    @property
    def visited(self) -> bool:
        """Whether somebody asks who neither serves the queue nor is root: others' jobs are closed to him."""
        return os.geteuid() not in (0, os.stat(self._tree.path).st_uid)

    def create(self) -> None:
        """Make the directories that are missing."""
        self._tree.create()

    def publish(self, document: bytes, name: str | None = None, *, durable: bool = True) -> Job:
        """Put one document into the queue and return it as a waiting job; the same name and bytes again is a no-op.

        BadInput: the name is not one of the queue's, or taken by other bytes. TemporaryFailure: quota or disk full;
        nothing was published.
        """
        return publish(self._tree, [(document, name)], durable=durable)[0]

    def publish_many(self, documents: Iterable[bytes | tuple[bytes, str | None]], *, durable: bool = True) -> list[Job]:
        """Put many documents (or pairs with a name) into the queue with one commit a thousand of them."""
        pairs = [item if isinstance(item, tuple) else (item, None) for item in documents]
        return publish(self._tree, pairs, durable=durable)

    def backlog(self) -> Backlog:
        """Return a new window over what waits."""
        return Backlog(self._tree)

    def claims(self, limit: int | None = None) -> Iterator[Claim]:
        """Yield the ready jobs, each claimed and its attempt begun, until none is ready; reaps first.

        The claim must be left (or its `with` block ended) before the next one is asked for.
        """
        list(self.reap())
        with closing(self.backlog()) as backlog:
            served = 0
            while limit is None or served < limit:
                more = backlog.scan(1.0)
                claim = backlog.take()
                if claim is None and not more and not backlog.busy:
                    return
                if claim is not None:
                    served += 1
                    yield _begun(claim)

    def reap(self) -> list[Reaped]:
        """Give back what dead processes left in active/."""
        return list(reaper.reap(self._tree))

    def sweep(self) -> list[str]:
        """Remove stale staging files and old fingerprints; return their paths."""
        return reaper.sweep(self._tree)

    def fingerprint(self, name: str) -> Fingerprint:
        """Return what is known of a bundle's fingerprint."""
        return fingerprints.known(self._tree, name)

    def find(self, id_or_prefix: str) -> Job:
        """Return the job of an id, of an unambiguous prefix of one (4 characters or more), or of an arrival's name."""
        tree = self._tree
        if ID.fullmatch(id_or_prefix) and (places := tree.places(id_or_prefix)):
            state, path = places[-1]
            return Job(tree, id_or_prefix, state, path)
        if tree.arrives(id_or_prefix) and "/" not in id_or_prefix and os.path.lexists(tree.path + "/" + id_or_prefix):
            return self._waiting(id_or_prefix)
        return self._by_prefix(id_or_prefix)

    def _by_prefix(self, prefix: str) -> Job:
        if len(prefix) < _PREFIX_CHARS or len(prefix) > ID_CHARS or not all(c in "0123456789abcdef" for c in prefix):
            raise BadInput(f"{prefix!r} names no job", field="id", fix="give 4 or more characters of an id")
        found = {job.id: job for job in self.jobs() if job.id.startswith(prefix)}
        if len(found) > 1:
            message = f"{prefix} is the beginning of {len(found)} ids: {', '.join(sorted(found)[:5])}"
            raise BadInput(message, field="id", fix="give more characters")
        if not found:
            raise BadInput(f"there is no job {prefix} in {tree_name(self._tree)}", field="id", fix="see the list")
        return next(iter(found.values()))

    def jobs(self, *states: State) -> Iterator[Job]:
        """Yield the jobs of the states (default: all), lazily; one that moves meanwhile may be met twice or missed."""
        tree = self._tree
        for state in states or tuple(State):
            if state is State.WAITING:
                yield from self._all_waiting()
            elif state in TERMINAL:
                for day in self._days(state):
                    yield from self._in(state, f"{tree.state(state)}/{day}")
            else:
                yield from self._in(state, tree.state(state))

    def _days(self, state: State) -> list[str]:
        return _names(lambda: self._tree.days(state))

    def _in(self, state: State, directory: str) -> Iterator[Job]:
        for name in _names(lambda: os.listdir(directory)):
            path = f"{directory}/{name}"
            if ID.fullmatch(name) and (state is not State.ACTIVE or os.path.lexists(f"{path}/{JOB}")):
                yield Job(self._tree, name, state, path)

    def _all_waiting(self) -> Iterator[Job]:
        for name in _names(lambda: os.listdir(self._tree.path)):
            if self._tree.arrives(name):
                try:
                    yield self._waiting(name)
                except (FileNotFoundError, Forbidden, BlockingIOError):  # the last: its owner holds a lease on it
                    continue

    def _waiting(self, name: str) -> Job:
        with look(self._tree, name) as arrival:
            if arrival.problem and arrival.submitter != os.geteuid() and self.visited:
                raise Forbidden(f"{name} is another user's", fix="ask the user who handed it in")
            return Job(self._tree, arrival.id, State.WAITING, f"{self._tree.path}/{name}", facts_of(arrival))

    def hold(self, job_id: str, reason: str = "") -> Job:
        """Park a waiting or deferred job until `release`."""
        return operators.hold(self._tree, self.find(job_id), reason)

    def release(self, job_id: str) -> Job:
        """Let a held job go on, due at once."""
        return operators.release(self._tree, self.find(job_id))

    def retry(self, job_id: str) -> Job:
        """Forgive the failures of a job and of its fingerprints, and make it due at once, wherever it is."""
        return operators.retry(self._tree, self.find(job_id))

    def drop(self, job_id: str) -> None:
        """Remove a job for good. TemporaryFailure while it is being worked on, like all the operators' methods."""
        operators.drop(self._tree, self.find(job_id))

    def strays(self) -> Iterator[Stray]:
        """Yield what lies in the queue and is neither a job nor of the queue's making; nobody touches it."""
        return fsck.strays(self._tree)

    def fsck(self, mend: bool = False) -> list[Finding]:
        """Prove that every id is in one place and every place holds jobs; return what is not as it should be.

        With `mend` what is safe to mend is mended. A finding that concerns a moving job is checked twice.
        """
        return fsck.check(self._tree, mend)

    def expired(self, older_than: timedelta, now: datetime) -> Iterator[Expired]:
        """Yield the ended jobs that `expire` would remove, and what they occupy."""
        return upkeep.expired(self._tree, older_than, now)

    def expire(self, older_than: timedelta, now: datetime) -> Iterator[Expired]:
        """Remove the jobs that ended at or before `now - older_than`; yields each as it goes, errors included."""
        return upkeep.expire(self._tree, older_than, now)

    def counts(self) -> dict[State, int]:
        """Return how many jobs each state holds; reads names only."""
        tree = self._tree
        counts = {State.WAITING: sum(map(tree.arrives, _names(lambda: os.listdir(tree.path))))}
        for state in (State.ACTIVE, *PARKED):
            counts[state] = _count_ids(tree.state(state))
        for state in TERMINAL:
            counts[state] = sum(_count_ids(f"{tree.state(state)}/{day}") for day in self._days(state))
        return counts


def _begun(claim: Claim) -> Claim:
    try:
        claim.started()
    except BaseException:
        claim.close()  # to the reaper: no attempt has begun
        raise
    return claim


def tree_name(tree: Tree) -> str:
    """Return what a person calls the queue."""
    return os.path.basename(tree.path)


def _names(listing: Callable[[], list[str]]) -> list[str]:
    try:
        return listing()
    except FileNotFoundError as error:
        raise Unavailable(f"there is no queue at {error.filename}", fix="start the watcher, or create it") from None


def _count_ids(directory: str) -> int:
    try:
        return sum(ID.fullmatch(name) is not None for name in os.listdir(directory))
    except FileNotFoundError:
        return 0
