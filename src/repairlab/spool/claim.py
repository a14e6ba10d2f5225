"""claim: a job in our hands, from claim to the one rename that ends the claim.

A claim owns active/ID and the lock on it; `fd` is the lock: pass it to the child that works on the job and the job
stays claimed for as long as either lives. Leaving is always the same three steps: the intent (an event with `to`) is
appended to the history, what it promises is written, the directory is renamed. A claimer that dies in between leaves an
intent that the reaper carries out; one that dies before the intent leaves an orphan that is tried again.

Durability: `fail`, `crashed`, `finish`, `reject` and `quarantine` fsync the intent, and let the names in the job's
directory be safe before the rename (`Disk.order`: a second flush only where the file system keeps no order). The rename
itself is not flushed: where a power cut undoes it the intent is there, and is carried out again.
Deferrals of our own making are not fsynced: losing one means trying sooner.

A failed leave (full disk) raises TemporaryFailure and keeps the claim; leaving again carries the first intent on.
"""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from repairlab.errors import BadInput, RepairLabError, TemporaryFailure, Unavailable
from repairlab.spool import fingerprints
from repairlab.spool.disk import remove_staged, remove_tree, rename_new, trouble
from repairlab.spool.fingerprints import Fingerprint
from repairlab.spool.history import Event, History, dumps, rfc3339
from repairlab.spool.job import Job, Submitted, read_document, read_facts
from repairlab.spool.policy import TERMINAL, State
from repairlab.spool.tree import DAY, JOB, REASON, WORK, Tree

_OWN_FILES = frozenset({JOB, "claim", "attempts.jsonl", WORK, "duplicates"})


class Claim(Submitted):
    """One claimed job. As a context manager it leaves active/ however the block ends.

    BadInput rejects the job, TemporaryFailure defers it uncounted, any other exception counts as a crash; a block that
    ends without having left hands the job back.
    """

    def __init__(self, tree: Tree, job_id: str, fd: int, facts: dict[str, Any] | None = None) -> None:
        self._tree, self.id, self.fd = tree, job_id, fd
        self._facts = facts if facts is not None else read_facts(tree, job_id, ".", dir_fd=fd)
        self.history = History(tree.disk, tree.clock, fd, fresh=facts is not None)
        self._decided: Event | None = None
        self._known: Fingerprint | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What was recorded of the arrival when it was claimed."""
        return self._facts

    def __repr__(self) -> str:
        return f"<Claim {self.id} {self.name}>"

    @property
    def path(self) -> Path:
        """The job's directory."""
        return Path(self._tree.at(State.ACTIVE, self.id))

    @property
    def attempt(self) -> int:
        """The number of this attempt in the life of the job, from 1."""
        begun = [entry.get("attempt") for entry in self.history.events if entry["event"] == "started"]
        return max((number for number in begun if isinstance(number, int)), default=0) + (
            0 if self.history.running else 1
        )

    @property
    def effort(self) -> int:
        """How hard to try: one more than the failures of the job, or of its fingerprint once that is known."""
        recorded: int = self._known.recorded if self._known else 0
        return 1 + max(self.history.count("failed"), recorded)

    @property
    def left(self) -> bool:
        """Whether the job is out of our hands."""
        return self.fd < 0

    def read(self) -> bytes:
        """Return the document; BadInput when it is no readable regular file of a bearable size."""
        with trouble("read the document"):
            try:
                return read_document(JOB, self._tree.policy.max_bytes, dir_fd=self.fd)
            except FileNotFoundError:
                raise BadInput("the document is gone", field="file", fix="hand it in again") from None

    def workdir(self) -> Path:
        """Return the job's work directory, empty; whatever an earlier attempt left there is removed."""
        with trouble("make the work directory"):
            with suppress(FileNotFoundError):
                remove_tree(WORK, dir_fd=self.fd)
            self._tree.disk.do("work.mkdir", os.mkdir, WORK, 0o700, dir_fd=self.fd)
        return self.path / WORK

    def put(self, name: str, data: bytes) -> Path:
        """Put a file beside the document in one step; once the job has ended, both are durable (decision 0811)."""
        if name in _OWN_FILES or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is not a name for a result")
        with trouble(f"write {name}"):
            self._tree.disk.replace("put", name, data, dir_fd=self.fd, sync=True)
        return self.path / name

    def retried_since(self, at: datetime) -> bool:
        """Whether an operator has wanted the job done anew since that instant."""
        retried = [event["at"] for event in self.history.events if event["event"] == "retried"]
        return bool(retried) and datetime.fromisoformat(retried[-1]) >= at

    def note(self, event: str, **fields: Any) -> Event:
        """Append an event to the history, not durably."""
        with trouble(f"note {event}"):
            return self.history.append(event, durable=False, **fields)

    def started(self, pid: int | None = None) -> None:
        """Record that an attempt begins in process `pid`; from now on its owner's death counts as an orphaning."""
        self.note("started", attempt=self.attempt, effort=self.effort, pid=pid or os.getpid())

    def known_failures(self, fingerprint: str) -> Fingerprint:
        """Return what is known of the job's fingerprint; effort counts its failures from now on."""
        self._known = fingerprints.known(self._tree, fingerprint)
        return self._known

    def finish(self, **fields: Any) -> Job:
        """End the job as done, with what its history shall say of it; its results must have been put before."""
        return self.leave("finished", State.OK, **fields)

    def fail(self, reason: str, fingerprint: str | None = None, **fields: Any) -> Job:
        """Count a failure against the job and its fingerprint; return it deferred or given up."""
        named = {"fingerprint": fingerprint} if fingerprint else {}
        known = fingerprints.known(self._tree, fingerprint).in_window if fingerprint else 0
        return self._counted("failed", self._tree.policy.failures, known, reason=reason, **named, **fields)

    def crashed(self, reason: str, **fields: Any) -> Job:
        """Count a crash of the job's worker, apart from its failures; return it deferred or given up."""
        return self._counted("crashed", self._tree.policy.crashes, 0, reason=reason, **fields)

    def orphaned(self) -> Job:
        """Count that the owner of the job died; return it deferred or given up."""
        policy = self._tree.policy
        if not self.history.running:  # claimed, but no attempt had begun: the job cannot have caused it
            return self.leave("recovered", State.DEFERRED, durable=False, delay_s=0.0)
        count = 1 + self.history.count("orphaned", policy.window_s)
        if count >= policy.orphans:
            return self._give_up("orphaned", f"its owner died {count} times in {policy.window_s:g} s")
        if 1 + self.history.count("orphaned") >= policy.max_orphans:
            return self._give_up("orphaned", f"{policy.max_orphans} owners of it have died")
        delay_s = policy.recovery_s(count, self._tree.random)
        return self.leave("orphaned", State.DEFERRED, delay_s=round(delay_s, 3))

    def _counted(self, event: str, limit: int, known: int, **fields: Any) -> Job:
        policy = self._tree.policy
        count = 1 + max(known, self.history.count(event, policy.window_s))
        life = 1 + self.history.count("failed") + self.history.count("crashed")
        if count >= limit:
            return self._give_up(event, f"{event} {count} times in {policy.window_s:g} s", **fields)
        if life >= policy.max_attempts:
            return self._give_up(event, f"{life} attempts used up", **fields)
        delay_s = policy.backoff_s(count, self._tree.random)
        return self.leave(event, State.DEFERRED, delay_s=round(delay_s, 3), **fields)

    def _give_up(self, event: str, why: str, **fields: Any) -> Job:
        fields.setdefault("reason", why)
        return self.leave(event, State.HARD_FAIL, why=why, fix="look at the attempts, then retry the job", **fields)

    def defer(self, seconds: float | datetime, reason: str) -> Job:
        """Put the job off for `seconds`, or until an instant; counts nothing."""
        when: dict[str, Any]
        if isinstance(seconds, datetime):
            when = {"not_before": rfc3339(seconds.timestamp())}
        else:
            when = {"delay_s": round(seconds, 3)}
        return self.leave("deferred", State.DEFERRED, durable=False, reason=reason, **when)

    def hand_back(self, reason: str) -> Job:
        """Give the job back as it was taken; it is due at once and nothing is counted."""
        return self.leave("interrupted", State.DEFERRED, durable=False, reason=reason, delay_s=0.0)

    def reject(self, reason: BadInput | str) -> Job:
        """End the job as unusable input, its bytes kept."""
        error = reason if isinstance(reason, BadInput) else BadInput(reason)
        return self.leave("rejected", State.REJECTED, reason=error.message, field=error.field, fix=error.fix)

    def quarantine(self, reason: str, **fields: Any) -> Job:
        """Give the job up without a further attempt."""
        return self.leave("quarantined", State.HARD_FAIL, reason=reason, **fields)

    def hold(self, reason: str = "") -> Job:
        """Park the job until an operator releases it."""
        return self.leave("held", State.HOLD, reason=reason)

    def leave(self, event: str, to: State, *, durable: bool = True, **fields: Any) -> Job:
        """Record the intent, keep its promises, move.

        On TemporaryFailure the claim is still ours. Unavailable: somebody removed the directory by hand; the claim is
        over.
        """
        if self.left:
            raise ValueError(f"job {self.id} has left already")
        try:
            with trouble(f"file job {self.id} as {to}"):
                if self._decided is None:
                    day = {"day": rfc3339(self._tree.clock.wall())[:10]} if to in TERMINAL else {}
                    self._decided = self.history.append(event, durable=durable, to=to, **day, **fields)
                    if durable and to is not State.OK:  # there the next thing is the order before the rename
                        self._tree.disk.order("leave.order", self.fd)
                return self.settle(self._decided)
        except FileNotFoundError as error:
            self.close()
            raise Unavailable(
                f"the directory of job {self.id} is gone", fix="do not remove active/ID by hand"
            ) from error

    def settle(self, intent: Event) -> Job:
        """Carry out an intent of the history; harmless to repeat."""
        to = State(intent["to"])
        if intent["event"] == "failed" and "fingerprint" in intent:
            fingerprints.record(self._tree, intent["fingerprint"], self.id, intent)
        if to in (State.HARD_FAIL, State.REJECTED):
            self.put_reason(intent, to)
        elif intent["event"] == "retried":
            with suppress(FileNotFoundError):
                self._tree.disk.do("reason.unlink", os.unlink, REASON, dir_fd=self.fd)
        day = str(intent.get("day", "")) if to in TERMINAL else ""
        if to in TERMINAL and not DAY.fullmatch(day):
            day = rfc3339(self._tree.clock.wall())[:10]
        return self._move(to, day)

    def put_reason(self, intent: Event, to: State) -> None:
        """Write reason.json from the event that decided."""
        known = {key: intent[key] for key in ("reason", "why", "field", "fix", "at", "fingerprint") if intent.get(key)}
        text = dumps({"outcome": str(to), "id": self.id, "name": self.name, **known})
        self._tree.disk.replace("reason", REASON, text, dir_fd=self.fd, sync=True)

    def _move(self, to: State, day: str) -> Job:
        disk, target = self._tree.disk, self._tree.at(to, self.id, day)
        remove_staged(self.fd)  # a worker that died in the middle of a replacement has nobody else to do it
        if to in TERMINAL:
            disk.order("leave.order", self.fd)  # the names of the results and of reason.json
        try:
            self._rename(target, bucket=to in TERMINAL)
        except FileExistsError:
            message = f"job {self.id} is in two places: {self.path} and {target}"
            raise RepairLabError(message, fix="run fsck and remove the one that is wrong") from None
        self.close()
        return Job(self._tree, self.id, to, target, self.facts)

    def _rename(self, target: str, *, bucket: bool) -> None:
        """Move to where no job is; with `bucket` to a directory that the first job of a day has to make."""
        disk, source = self._tree.disk, self._tree.at(State.ACTIVE, self.id)
        try:
            disk.do("leave.rename", rename_new, source, target)
        except FileNotFoundError:
            if not bucket:
                raise
            parent = os.path.dirname(target)
            with suppress(FileExistsError):
                disk.do("bucket.mkdir", os.mkdir, parent)
                disk.order_path("bucket.order", os.path.dirname(parent))
            disk.do("leave.rename", rename_new, source, target)

    def close(self) -> None:
        """Let go of the lock. Without having left this abandons the job to the reaper."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        try:
            return self.left or self._end(error)
        except (TemporaryFailure, Unavailable):
            return False  # nothing could be written: the job stays in active/ and the reaper carries it on
        finally:
            self.close()

    def _end(self, error: BaseException | None) -> bool:
        if isinstance(error, BadInput):
            self.reject(error)
        elif isinstance(error, TemporaryFailure):
            self.defer(self._tree.policy.backoff_base_s, str(error))
        elif isinstance(error, Exception):
            self.crashed(f"{type(error).__name__}: {error}")
        else:
            self.hand_back("stopped" if error else "the attempt ended without a result")
        return isinstance(error, BadInput | TemporaryFailure)
