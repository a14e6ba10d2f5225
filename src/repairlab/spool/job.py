"""job: what can be read of a job without owning it.

A job may move while it is read. Every read goes by path, and where the path is gone the job is looked for once more.

Whose a job is, is in its `claim`. Where that cannot be read (a power cut tears the claim of a job of our own, which is
not synced) only the id is believed, since it is a digest of the owner's uid: the owner of the document must be the one
that the id was made of. A document that we made our own proves nothing, and a job that nobody can be shown to have
handed in is `access.NOBODY`'s, who may read what everybody may.
"""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from repairlab import access
from repairlab.errors import BadInput
from repairlab.spool import history
from repairlab.spool.arrival import KEY_CHARS, LINEAGE_CHARS, Arrival, envelope, id_of
from repairlab.spool.disk import READ, read_all, read_file
from repairlab.spool.history import Event
from repairlab.spool.policy import State
from repairlab.spool.tree import CLAIM, JOB, REASON, Tree, kind_of

FACTS_BYTES = 64 << 10  # what is read of a claim
_FACT_CHARS = 1024  # of one fact that is text


def visible(name: str) -> str:
    """Return a file name as valid text; bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def facts_of(arrival: Arrival) -> dict[str, Any]:
    """Return what `claim` remembers of an arrival."""
    env = arrival.envelope
    facts: dict[str, Any] = {"name": visible(arrival.name), "submitter": arrival.submitter, "lineage": env.lineage}
    facts |= {"priority": env.priority, "arrived": history.rfc3339(arrival.status.st_ctime)}
    if arrival.problem:
        facts["odd"] = arrival.problem
    if arrival.served != arrival.submitter:
        facts["served"] = arrival.served
    facts |= {"idempotency_key": env.key[:KEY_CHARS]} if env.key is not None else {}
    return facts | ({"not_before": env.not_before} if env.not_before else {})


def encode_facts(facts: dict[str, Any]) -> bytes:
    """Return the bytes of a `claim`, which are never more than are read of one: a cut claim says nothing."""
    short = {name: fact[:_FACT_CHARS] if isinstance(fact, str) else fact for name, fact in facts.items()}
    raw = orjson.dumps(short)
    if len(raw) > FACTS_BYTES:
        raise ValueError(f"a claim of {len(raw)} bytes could not be read again")
    return raw


def read_facts(tree: Tree, job_id: str, path: str, *, dir_fd: int | None = None) -> dict[str, Any]:
    """Return the facts of the job directory `path`; what a crash left unwritten is read from the document."""
    with suppress(OSError, orjson.JSONDecodeError):
        facts = orjson.loads(read_file(f"{path}/{CLAIM}", FACTS_BYTES, dir_fd=dir_fd))
        if isinstance(facts, dict) and all(type(facts.get(key)) is int for key in ("submitter", "priority")):
            return facts
    submitter, raw = access.NOBODY, b""
    with suppress(OSError):
        raw = read_file(f"{path}/{JOB}", tree.policy.max_bytes, dir_fd=dir_fd)
        owner = os.stat(f"{path}/{JOB}", dir_fd=dir_fd, follow_symlinks=False).st_uid
        submitter = owner if id_of(raw, owner) == job_id else access.NOBODY
    env = envelope(raw, submitter)
    return {"name": JOB, "submitter": submitter, "lineage": env.lineage, "priority": env.priority}


def read_document(path: str, max_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """Return the bytes of a document; BadInput when it is no readable regular file of a bearable size."""
    mode = os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        raise BadInput(f"the handed-in file is {kind_of(mode)}", field="file", fix="drop a regular file")
    try:
        fd = os.open(path, READ, dir_fd=dir_fd)
    except PermissionError:
        raise BadInput("the file is not readable for this service", field="file", fix="chmod a+r it") from None
    try:
        size = os.fstat(fd).st_size
        if size > max_bytes:
            fix = f"keep it below {max_bytes} bytes: refer to files, not contents"
            raise BadInput(f"the document has {size} bytes", field="file", fix=fix)
        return read_all(fd, max_bytes)
    finally:
        os.close(fd)


class Submitted:
    """What a job and a claim both know of the document, from `facts`."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the claim recorded of the arrival."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The file name that the job arrived under."""
        return str(self.facts.get("name", JOB))

    @property
    def submitter(self) -> int:
        """The uid that handed the job in."""
        return int(self.facts["submitter"])

    @property
    def lineage(self) -> str:
        """The lineage of the document, by default the submitter's."""
        return str(self.facts.get("lineage") or f"uid-{self.submitter}")

    @property
    def other(self) -> int | None:
        """The submitter, where that is another user than we are."""
        return None if self.submitter == os.geteuid() else self.submitter

    def own(self, lineage: str) -> str:
        """Return what a lineage of the submitter's is called where those of all users lie side by side.

        Another user's ends in his uid, or whoever may hand in could be the champion of what somebody else works at. Two
        names of one user that differ only where there is no room for that are one.
        """
        if self.other is None:
            return lineage
        tail = f".{self.submitter}"
        return lineage[: LINEAGE_CHARS - len(tail)] + tail

    @property
    def priority(self) -> int:
        """Higher is sooner; 0 is normal."""
        return int(self.facts.get("priority", 0))


class Job(Submitted):
    """One job as it was when it was found."""

    def __init__(self, tree: Tree, job_id: str, state: State, path: str, facts: dict[str, Any] | None = None) -> None:
        self._tree = tree
        self._facts = facts
        self.id, self.state, self.path = job_id, state, path

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state} {self.path}>"

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the submission: name, submitter, lineage, priority, arrived."""
        if self._facts is None:
            self._facts = read_facts(self._tree, self.id, self.path)
        return self._facts

    def _follow(self) -> None:
        """Find the job again if it has moved since."""
        if not os.path.lexists(self.path) and (places := self._tree.places(self.id)):
            self.state, self.path = places[-1]

    def attempts(self) -> list[Event]:
        """Return the history, oldest first."""
        self._follow()
        return [] if self.state is State.WAITING else history.read(f"{self.path}/{history.NAME}")

    def document(self) -> bytes:
        """Return the document as handed in; BadInput when it is not readable as one."""
        self._follow()
        path = self.path if self.state is State.WAITING else f"{self.path}/{JOB}"
        return read_document(path, self._tree.policy.max_bytes)

    def reason(self) -> dict[str, Any] | None:
        """Return why the job was rejected or given up, None for others."""
        self._follow()
        try:
            value = orjson.loads(read_file(f"{self.path}/{REASON}", FACTS_BYTES))
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
            return None
        return value if isinstance(value, dict) else None

    @property
    def since(self) -> datetime:
        """When the job came into its state."""
        if self.state is State.ACTIVE and (at := self.facts.get("claimed")):
            return datetime.fromtimestamp(history.epoch(at, 0.0), UTC)
        moves = [entry for entry in self.attempts() if "to" in entry]
        if moves:
            return datetime.fromtimestamp(history.epoch(moves[-1]["at"], 0.0), UTC)
        return datetime.fromtimestamp(os.stat(self.path, follow_symlinks=False).st_ctime, UTC)

    @property
    def not_before(self) -> datetime | None:
        """When a deferred job is due, None for all others."""
        events = self.attempts() if self.state is State.DEFERRED else []
        if not events:
            return None
        clock = self._tree.clock
        when = history.epoch(events[-1].get("not_before"), 0.0) or clock.wall() + clock.remaining_s(events[-1])
        return datetime.fromtimestamp(when, UTC)
