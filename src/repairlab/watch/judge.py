"""watch.judge: the last worker of a job: believe nothing of what the agent said, make what is true durable.

Its one argument is an `Order` in JSON. Reads <job>/job.json, <job>/work/agent.stdout (the telemetry) and
<job>/work/out/patch.diff; all of it bounded, and no link is followed. Proved before anything is published: one
telemetry object, in agreement with the exit code; the snapshot still is what it was; its hash is the one that the agent
names; the patch applies to it, leaves the tests alone, and makes of it exactly the bundle whose hash the agent names.

Durable in this order, so that a death in between repeats and never doubles: <job>/telemetry.json, the frozen bundle,
<job>/patch.diff, <job>/challenger.json (from here on the result is decided), then challenger_<id>.json in the
challengers' queue. Writes <job>/work/verdict.json (`Judged`) last; the watcher then needs one rename to end the job.

Exit: 0 judged, whatever the verdict · 75 the disk is full; run it again.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import msgspec

from repairlab import documents
from repairlab.documents import Challenger, Findings, Handoff, PatchEncoding, Strategy, Telemetry
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.sandbox.bundle import content_digest, hash_manifest, make_durable, manifest
from repairlab.sandbox.patch import BadPatch, applied
from repairlab.spool import Spool, State
from repairlab.spool.arrival import digest
from repairlab.spool.disk import Disk, read_file, trouble
from repairlab.watch.outcome import Verdict
from repairlab.watch.prepare import CHALLENGER, MAX_CHALLENGER, resumable

RESULT = "verdict.json"
CHALLENGERS = "challenger_*.json"
STDOUT = "agent.stdout"
MAX_TELEMETRY = 16 << 20
MAX_PATCH = 16 << 20
KEPT = 200  # entries of each list in the telemetry that is kept with the job
TESTS = ("test_*.py", "*_test.py", "conftest.py")  # pytest's own discovery, where the handoff names no tests


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge: the job, the frozen bundle that its agent was given, how the agent ended."""

    job: str
    id: str
    lineage: str
    queue: str
    snapshot: str
    sha256: str
    code: int
    killed: str = ""
    submitter: int | None = None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, and what the journal and the job's history say about it."""

    verdict: Verdict
    reason: str
    strategy: str = ""
    tried: int = 0


class Lie(Exception):
    """The agent's answer breaks the protocol or is not true."""


def main(argv: Sequence[str]) -> int:
    """Judge one answer."""
    order = _ORDERS.decode(argv[0])
    os.umask(0o022)  # results are there to be read; who may is decided by the directories above
    with trouble("keep the results"):
        judged = _resume(order) if resumable(Path(order.job), order.id) else _judge(order)
        Path(order.job, "work", RESULT).write_bytes(msgspec.json.encode(judged))
    return os.EX_OK


def _judge(order: Order) -> Judged:
    try:
        told = _telemetry(Path(order.job) / "work" / STDOUT, order.code)
        if told.parent_sha256 != order.sha256:
            raise Lie("parent_sha256 is not the hash of the bundle that the agent was given")
        keep(order.job, "telemetry.json", documents.encode(_bounded(told)))
        if not told.ok:
            reason = order.killed or told.reason or told.strategy
            return Judged(verdict=Verdict.NOT_REPAIRED, reason=reason, strategy=told.strategy, tried=told.attempts)
        handoff = documents.decode(read_file(Path(order.job) / "job.json", documents.MAX_BYTES), Handoff)
        if told.correct and not handoff.held_out:
            raise Lie("correct is true, yet the handoff holds no test out")
        patch = _proved_patch(order, told, handoff)
    except Lie as lie:
        return Judged(verdict=Verdict.INVALID, reason=str(lie))
    _decide(order, told, handoff, patch)
    verdict = Verdict.NOOP if told.strategy is Strategy.NOOP else Verdict.REPAIRED
    return Judged(verdict=verdict, reason=told.details[:500], strategy=told.strategy, tried=told.attempts)


def _resume(order: Order) -> Judged:
    """Publish what an earlier owner had decided, or this one before it could say so."""
    raw = read_file(Path(order.job) / CHALLENGER, MAX_CHALLENGER)
    made = documents.decode(raw, Challenger, max_bytes=MAX_CHALLENGER)
    if not consumed(order.queue, order.id):
        publish(order.queue, order.id, raw)
    verdict = Verdict.REPAIRED if made.meta_repair else Verdict.NOOP
    return Judged(verdict=verdict, reason=made.repair_details[:500], strategy=made.repair_strategy)


def _telemetry(path: Path, code: int) -> Telemetry:
    raw = _read(path, MAX_TELEMETRY, "the telemetry")
    try:
        told = documents.decode(raw, Telemetry, max_bytes=MAX_TELEMETRY)
    except BadInput as error:
        raise Lie(f"stdout is not one telemetry object: {error}"[:500]) from None
    except (ValueError, RecursionError) as error:
        raise Lie(f"stdout cannot be parsed: {type(error).__name__}") from None
    if told.ok and told.correct is False:
        raise Lie("ok is true, yet correct is false")
    if told.ok is not (code == os.EX_OK):
        raise Lie(f"ok is {str(told.ok).lower()}, yet the exit code is {code}")
    return told


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        raw = read_file(path, limit + 1)
    except OSError as error:
        raise Lie(f"{what} cannot be read: {error.strerror}") from None
    if len(raw) > limit:
        raise Lie(f"{what} has more than {limit} bytes")
    return raw


def _bounded(told: Telemetry) -> Telemetry:
    """Return the telemetry at a size that may lie in the spool for a week."""
    unknown = told.unknown if len(str(told.unknown)) < documents.MAX_BYTES else {}
    names = [name[:1000] for name in told.failing[:KEPT]]
    return msgspec.structs.replace(
        told, unknown=unknown, failing=names, localization=told.localization[:KEPT], candidates=told.candidates[:KEPT]
    )


def _proved_patch(order: Order, told: Telemetry, handoff: Handoff) -> bytes:
    """Return the patch that makes of the snapshot what the agent says, empty for a noop; raise `Lie`."""
    found = manifest(Path(order.snapshot))
    if hash_manifest(found) != order.sha256:
        raise Lie("the frozen bundle was changed while the agent ran")
    if told.strategy is Strategy.NOOP:
        if told.bundle_sha256 != order.sha256:
            raise Lie("a noop that names another bundle_sha256")
        return b""
    patch = _read(Path(order.job) / "work" / "out" / "patch.diff", MAX_PATCH, "patch.diff")
    try:
        changed = applied(patch, Path(order.snapshot))
    except BadPatch as error:
        raise Lie(f"patch.diff: {error}") from None
    for name, content in changed.items():
        _check_allowed(name, handoff)
        if name not in found:
            raise Lie(f"patch.diff changes {name}, which is no source")
        found[name] = (found[name][0], content_digest(content))
    if hash_manifest(found) != told.bundle_sha256:
        raise Lie("bundle_sha256 is not the hash of the bundle that patch.diff makes")
    if told.bundle_sha256 == order.sha256:
        raise Lie("patch.diff changes nothing")
    return patch


def _check_allowed(name: str, handoff: Handoff) -> None:
    tests = [test.partition("::")[0] for test in handoff.tests] or TESTS
    if _matches(name, [*tests, *handoff.held_out]):
        raise Lie(f"patch.diff changes {name}, a test")
    if name == (handoff.benchmark or "").removeprefix("./"):
        raise Lie(f"patch.diff changes {name}, the benchmark")
    if handoff.editable and not _matches(name, handoff.editable):
        raise Lie(f"patch.diff changes {name}, which is not editable")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the path, its last part (as pytest does), or a directory above it."""
    pure = PurePosixPath(name)
    candidates = [name, *(str(parent) for parent in pure.parents if str(parent) != ".")]
    plain = [pattern.removeprefix("./").rstrip("/") for pattern in patterns]
    by_name = [pattern for pattern in plain if "/" not in pattern and any(char in pattern for char in "*?[")]
    if "." in plain:
        return True
    return any(fnmatchcase(item, pattern) for item in candidates for pattern in plain) or any(
        fnmatchcase(pure.name, pattern) for pattern in [*by_name, *(p for p in plain if p == "conftest.py")]
    )


def _decide(order: Order, told: Telemetry, handoff: Handoff, patch: bytes) -> None:
    """Make the result durable and publish it; the bundle first, because the challenger names it."""
    make_durable(Path(order.snapshot))
    if patch:
        keep(order.job, "patch.diff", patch)
    raw = documents.encode(_challenger(order, told, handoff, patch))
    keep(order.job, CHALLENGER, raw)
    publish(order.queue, order.id, raw)


def _challenger(order: Order, told: Telemetry, handoff: Handoff, patch: bytes) -> Challenger:
    text, encoding = _as_text(patch)
    return Challenger(
        ts=time.time(),
        source="repairlab-queue-watcher",
        bundle_dir=order.snapshot,
        spec_path=handoff.spec_path,
        lineage=order.lineage,
        original_epoch=handoff.epoch,
        original_fitness=handoff.metrics.fitness if handoff.metrics else None,
        repair_strategy=told.strategy,
        repair_pattern_id=told.pattern_id,
        repair_attempts=told.attempts,
        repair_details=told.details,
        bundle_sha256=told.bundle_sha256,
        parent_sha256=told.parent_sha256,
        meta_repair=told.strategy is not Strategy.NOOP,
        patch=text,
        idempotency_key=order.id,
        correct=told.correct,
        confidence=told.confidence,
        tests=[*(handoff.tests or ["."]), *handoff.held_out] if handoff.held_out else handoff.tests,
        python=handoff.python,
        env=handoff.env,
        failing=[name[:1000] for name in told.failing[:KEPT]],
        findings=_findings(told),
        unknown=handoff.unknown,
        submitter=order.submitter,
        patch_encoding=encoding,
        benchmark=handoff.benchmark,
        targets=handoff.targets,
        retired_tests=handoff.retired_tests,
    )


def _findings(told: Telemetry) -> Findings:
    """Return what a person is told of the search."""
    others = [each.confidence for each in told.candidates[1:] if each.confidence is not None]
    return Findings(
        tests=told.tests,
        failed=told.failed,
        clusters=told.clusters,
        next_confidence=max(others, default=None),
        question=told.question,
    )


def _as_text(patch: bytes) -> tuple[str, PatchEncoding]:
    """Return the patch as JSON text, and how that becomes its bytes again."""
    try:
        return patch.decode("utf-8"), PatchEncoding.UTF_8
    except UnicodeDecodeError:
        return patch.decode("latin-1"), PatchEncoding.LATIN_1


def keep(job: str, name: str, data: bytes) -> None:
    """Make a file of the job durable, replacing it in one step; the job's lock is inherited from the watcher."""
    disk = Disk()
    disk.replace("keep", f"{job}/{name}", data, sync=True)
    disk.sync_directory("keep.directory", job)


def publish(path: str, job_id: str, raw: bytes) -> None:
    """Publish the challenger. The same bytes under the same name are published already; others were there first."""
    if not os.path.isdir(path):
        raise TemporaryFailure(f"the challengers' queue {path} is gone", fix="a watcher makes it again")
    queue = Spool(path, pattern=CHALLENGERS)
    with suppress(BadInput):  # from before a `retry`: the id is the same, so the tournament has its challenger
        queue.publish(raw, f"challenger_{job_id}.json")


def consumed(path: str, job_id: str) -> bool:
    """Whether the tournament has taken the challenger of this job out of its arrivals, however far it is with it."""
    wanted = digest("key", str(os.geteuid()), job_id.encode())
    elsewhere = (state for state in State if state is not State.WAITING)
    return any(job.id == wanted for job in Spool(path, pattern=CHALLENGERS).jobs(*elsewhere))


# Done by the parent of the workers, which imports this module: msgspec looks at a type when it first meets it.
_ORDERS = msgspec.json.Decoder(Order)
