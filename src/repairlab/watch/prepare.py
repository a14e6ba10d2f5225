"""watch.prepare: the first worker of a job: read what was handed in, freeze its bundle, write the agent's handoff.

Its one argument is an `Order` in JSON. Reads <job>/job.json (untrusted), writes <job>/work/handoff.json for the agent
(bundle_dir is the frozen copy, limits are bounded by ours) and <job>/work/prepared.json: `Prepared` when all is well,
{message, field, fix} when it is not.

A job whose results are durable already (its watcher died between that and the end) is `resumed`: nothing is frozen and
no agent will run, so that the same result is published, and not another one.

Exit: 0 · 65 unusable input · 75 full disk and the like · 77 the store is not writable.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from repairlab import access, documents
from repairlab.documents import Challenger, Handoff, Limits
from repairlab.errors import BadInput, RepairLabError
from repairlab.sandbox.bundle import BundleLimits, Snapshot, snapshot
from repairlab.spool import history
from repairlab.spool.disk import read_file
from repairlab.spool.job import read_document

RESULT = "prepared.json"
HANDOFF = "handoff.json"
CHALLENGER = "challenger.json"
MAX_CHALLENGER = 1 << 26


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to prepare, for whom, where frozen bundles live, where bundles may come from, and the bounds."""

    job: str
    id: str
    submitter: int
    store: str
    roots: list[str]
    max_files: int
    max_bytes: int
    wall_s: float
    memory_mb: int


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the watcher needs to know to start the agent and the judge."""

    snapshot: str = ""
    sha256: str = ""
    wall_s: float = 0.0
    resumed: bool = False
    message: str = ""
    field: str = ""
    fix: str = ""


def main(argv: Sequence[str]) -> int:
    """Prepare one job."""
    order = _ORDERS.decode(argv[0])
    work = Path(order.job) / "work"
    try:
        prepared = _prepare(order, work)
    except RepairLabError as error:
        told = Prepared(message=error.message, field=error.field, fix=error.fix)
        (work / RESULT).write_bytes(msgspec.json.encode(told))
        raise
    (work / RESULT).write_bytes(msgspec.json.encode(prepared))
    return os.EX_OK


def _prepare(order: Order, work: Path) -> Prepared:
    handoff = documents.decode(read_document(f"{order.job}/job.json", documents.MAX_BYTES), Handoff)
    if resumable(Path(order.job), order.id):
        return Prepared(resumed=True)
    bounds = BundleLimits(max_files=order.max_files, max_bytes=order.max_bytes)
    frozen = snapshot(
        _source(handoff),
        roots=[Path(root) for root in order.roots],
        store=Path(order.store),
        limits=bounds,
        reader=None if order.submitter == os.geteuid() else access.person(order.submitter),
    )
    limits = _bounded(handoff.limits, order.wall_s, order.memory_mb)
    (work / HANDOFF).write_bytes(documents.encode(_for_agent(handoff, frozen, limits)))
    return Prepared(snapshot=str(frozen.path), sha256=frozen.sha256, wall_s=limits.wall_s or order.wall_s)


def _source(handoff: Handoff) -> Path:
    try:
        os.fsencode(handoff.bundle_dir)
    except UnicodeEncodeError:
        raise BadInput("the path is not encodable", field="bundle_dir", fix="write it in UTF-8") from None
    return Path(handoff.bundle_dir)


def _bounded(asked: Limits, wall_s: float, memory_mb: int) -> Limits:
    """Return what the job may use: what it asks for, at most what the configuration allows."""
    return Limits(wall_s=min(asked.wall_s or wall_s, wall_s), memory_mb=min(asked.memory_mb or memory_mb, memory_mb))


def _for_agent(handoff: Handoff, frozen: Snapshot, limits: Limits) -> Handoff:
    return msgspec.structs.replace(handoff, bundle_dir=str(frozen.path), limits=limits)


def resumable(job: Path, job_id: str) -> bool:
    """Whether the job's results were durable before its last owner died.

    challenger.json is the last file that the judge makes durable. One from before an operator's `retry` is an old
    answer to a new question.
    """
    try:
        made = documents.decode(read_file(job / CHALLENGER, MAX_CHALLENGER), Challenger, max_bytes=MAX_CHALLENGER)
    except (OSError, BadInput):
        return False
    retried = [event["at"] for event in history.read(job / history.NAME) if event["event"] == "retried"]
    last = max((datetime.fromisoformat(at).timestamp() for at in retried), default=0.0)
    return made.idempotency_key == job_id and made.ts > last


# Done by the parent of the workers, which imports this module: msgspec looks at a type when it first meets it.
_ORDERS = msgspec.json.Decoder(Order)
documents.encode(Handoff(bundle_dir="/"))
