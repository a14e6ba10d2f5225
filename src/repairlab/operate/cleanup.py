"""cleanup: `repairlab-cleanup [--root DIR] [--dry-run] [--json] [--now INSTANT]`: remove what was kept long enough.

How long is [cleanup] of the configuration, what is never removed is `pruning`'s business. One at a time
(<root>/cleanup.lock), safe beside running watchers and people. One line in the journal a run (MESSAGE_ID
CLEANUP_DONE). Prints what was removed: KIND, BYTES, PATH. Exit 0 done, 75 another cleanup runs or something could not
be removed.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from repairlab.errors import TemporaryFailure, UsageError
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command, run, version_option

KINDS = ("processed", "challengers", "bundles", "work", "escalations", "specs", "llm", "sbom", "patches")
LOCK_MODE = 0o600


@command("cleanup")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="State directory.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed now.")
@click.option("--now", metavar="INSTANT", help="Judge ages as of this instant (RFC 3339 with offset).")
@version_option()
def cleanup_command(_app: App, root: Path | None, dry_run: bool, now: str | None) -> Answer:
    """Remove ended jobs, challengers, bundles, documents and leftovers that have been kept for long enough.

    Never anything that is active, deferred, held, promoted, named by what may still run, or in the chain of such a
    bundle. Columns: KIND, BYTES, PATH.
    The limits are the days in [cleanup] of the configuration.
    """
    app, instant = App(root), _instant(now)
    if not app.root.is_dir():
        return Answer(data=_summary([], dry_run, 0.0))
    began = time.monotonic()
    with _alone(app.root):
        removals = _run(app, instant, dry_run)
    data = _summary(removals, dry_run, time.monotonic() - began)
    _tell(data)
    failed = [removal for removal in removals if removal.error]
    error = None
    if failed:
        why = f"{output.plural(len(failed), 'path')} could not be removed: {failed[0].path}: {failed[0].error}"
        error = TemporaryFailure(why, fix="it is tried again at the next run")
    return Answer(data=data, text=_lines(removals), error=error)


def _run(app: App, now: datetime, dry_run: bool) -> list[Any]:
    from repairlab import config
    from repairlab.operate.aged import Place
    from repairlab.operate.pruning import carry_out, plan
    from repairlab.spool import Policy, Spool

    policy = Policy.from_settings(app.settings.queue)
    specs = Spool(config.specs_dir(app.root), pattern="spec*.json", policy=policy)
    questions = Spool(config.llm_requests_dir(app.root), pattern="request*.json", policy=policy)
    queues = (app.spool("repair"), app.spool("challengers"))
    place = Place(app.root, *queues, app.settings.cleanup, now, specs, questions)
    for spool in place.queues:  # a producer may have made the queue's directory and nothing below it
        with suppress(OSError, TemporaryFailure):
            spool.create()
            # Who serves a queue sweeps it, but nobody here serves the questions to a model. Not in another user's.
            if not dry_run and spool.path.stat().st_uid == os.geteuid():
                spool.sweep()
    planned = list(plan(place))
    return planned if dry_run else list(carry_out(place, planned))


def _alone(root: Path) -> Any:
    """Hold the lock of the one cleanup that may run here; TemporaryFailure if another has it."""
    from contextlib import contextmanager

    from filelock import FileLock, Timeout

    @contextmanager
    def held() -> Iterator[None]:
        path = root / "cleanup.lock"
        try:
            _close(path)
            with FileLock(path, timeout=0, mode=LOCK_MODE):
                if os.geteuid() == 0:  # or the service's user, who owns the root, could not open it the next time
                    os.chown(path, root.stat().st_uid, root.stat().st_gid)
                yield
        except Timeout:
            raise TemporaryFailure(f"another cleanup of {root} is running", fix="wait for it to end") from None

    return held()


def _close(path: Path) -> None:
    """Let nobody else open a lock that an earlier release made: who may open it may hold it, for ever."""
    with suppress(FileNotFoundError, PermissionError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchmod(fd, LOCK_MODE)
        finally:
            os.close(fd)


def _instant(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no instant", fix="write it like 2026-01-31T02:00:00Z") from None
    if when.tzinfo is None:
        raise UsageError(f"{text!r} does not say its offset", fix="add Z or +01:00")
    return when


def _summary(removals: Sequence[Any], dry_run: bool, wall_s: float) -> dict[str, Any]:
    kinds = {}
    for kind in KINDS:
        mine = [removal for removal in removals if removal.kind == kind and not removal.error]
        kinds[kind] = {"paths": len(mine), "bytes": sum(removal.bytes for removal in mine)}
    return {
        "dry_run": dry_run,
        "removed": [removal for removal in removals if not removal.error],
        "failed": [removal for removal in removals if removal.error],
        "kinds": kinds,
        "bytes": sum(entry["bytes"] for entry in kinds.values()),
        "wall_s": round(wall_s, 3),
    }


def _lines(removals: Sequence[Any]) -> Iterator[str]:
    rows = [[removal.kind, str(removal.bytes), str(removal.path)] for removal in removals if not removal.error]
    return output.table(["KIND", "BYTES", "PATH"], rows)


def _tell(data: dict[str, Any]) -> None:
    """Write the one line of this run; a dry run has done nothing that is worth remembering."""
    from repairlab import journal

    if data["dry_run"]:
        return
    parts = [f"{entry['paths']} {kind}" for kind, entry in data["kinds"].items()]
    failed = f", {len(data['failed'])} could not be removed" if data["failed"] else ""
    message = f"removed {', '.join(parts)}: {output.size(data['bytes'])} freed{failed}"
    to_journal = os.path.exists(journal.SOCKET)  # also when a person runs it: the journal remembers what was removed
    journal.configure("repairlab-cleanup", journal.choose(to_journal=True) if to_journal else None)
    priority = journal.Priority.WARNING if failed else journal.Priority.INFO
    journal.event(journal.Event.CLEANUP_DONE, message, priority=priority, OUTCOME="failed" if failed else "ok")


def main(argv: Sequence[str]) -> int:
    """Clean up once."""
    return run(cleanup_command, "repairlab-cleanup", "cleanup", argv)
