"""submit: `repairlab submit DIR|FILE`: hand in failing code to be repaired, or the spec of a tool to be made.

A directory is frozen into the bundle store (your copy may change afterwards, and is never edited) and a handoff that
names the frozen copy is published, durably, before the id is printed. A FILE is a handoff: one whose bundle_dir lies in
a configured root is published byte for byte; any other bundle_dir (a relative one is relative to the file) is frozen
first. A `handoff.json` in DIR serves as a template: all its fields are taken but bundle_dir, which is DIR.

A FILE that is a spec (its schema says so, or it has a task and no bundle_dir) goes to the queue of specs, byte for
byte.

Options win over the file's fields. The handoff also says `source_dir`, so that a report knows where the patch belongs.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from repairlab import config, documents
from repairlab.errors import BadInput, UsageError
from repairlab.operate import output, views
from repairlab.operate.app import Answer, App, command, record

TEMPLATE = "handoff.json"


@command("submit")
@click.argument("what", metavar="DIR|FILE")
@click.option("--test", "tests", multiple=True, metavar="GLOB", help="Files with the tests; may be repeated.")
@click.option("--editable", multiple=True, metavar="GLOB", help="Files that may be changed; may be repeated.")
@click.option("--held-out", multiple=True, metavar="GLOB", help="Tests that judge and are not seen; may be repeated.")
@click.option("--benchmark", metavar="FILE", help="Program in DIR that times the code, in place of the tests.")
@click.option(
    "--retire", multiple=True, metavar="PATH", help="Tests of the champion that hold no more; may be repeated."
)
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher is sooner; 0 is normal.")
@click.option("--lineage", help="Whose turn it takes: lineages are served in fair turns.")
@click.option("--key", help="Idempotency key: the same key twice is one job.")
@click.option("--not-before", metavar="INSTANT", help="Earliest start, RFC 3339 with offset.")
@click.option("--python", type=click.Path(), help="Interpreter that has what the code needs.")
@click.option("--wall", "wall_s", type=float, metavar="SECONDS", help="Wall time of one attempt.")
@click.option("--memory", "memory_mb", type=int, metavar="MIB", help="Memory of the code under repair.")
@click.option("--reason", help="Why it is handed in; kept with the job.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the end: exit 0 if repaired, 1 if not.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: give up, exit 75.")
def submit_command(app: App, what: str, waits: bool, timeout: float | None, **options: Any) -> Answer:
    """Hand in failing code to be repaired, or the spec of a tool.

    Prints the id of the job. WHAT is a directory with the code and its tests, a handoff file, a spec file, or - for
    either on stdin. A spec's job is in the queue `specs`.
    """
    if timeout is not None and not waits:
        raise UsageError("--timeout goes with --wait", fix="add --wait")
    if app.guest:
        output.say(f"repairlab: for the machine's service at {app.root}; REPAIRLAB_ROOT=DIR is for one of your own")
    job = submit(app, what, _fields(options))
    record(app, "JOB_SUBMITTED", f"submitted {what}", JOB_ID=job.id, LINEAGE=job.lineage)
    queue = Path(job.path).parent.name
    _warn_if_nobody_serves(app, queue)
    if not waits:
        return Answer(data={"id": job.id, "name": job.name, "path": job.path}, text=[job.id])
    from repairlab.operate.waiting import wait

    output.say(f"repairlab: waiting for {job.id}")
    answer = wait(app, app.queue(queue), [job.id], timeout)
    row = answer.data[0] if answer.data else views.steadily(app.queue(queue), job.id, views.row)  # after --timeout
    return Answer(data=row, text=answer.text, error=answer.error)


def submit(app: App, what: str, fields: dict[str, Any] | None = None) -> Any:
    """Publish the handoff of a directory or file with these fields on top; return the waiting job."""
    raw, base = _read(what)
    value = documents.parse(raw, what="handoff") if raw is not None else {}
    if raw is not None and not Path(what).is_dir() and _is_spec(value):
        return _submit_spec(app, raw, fields or {})
    bundle = base if Path(what).is_dir() else _bundle(value, base)
    value |= fields or {}
    if raw is not None and not fields and str(bundle) == value.get("bundle_dir") and _in_roots(app, bundle):
        documents.convert(value, documents.Handoff)
        with suppress(OSError):  # another user's, or not there: the watcher will judge
            os.utime(bundle)  # before the handoff can be seen: what has just been used is never cleaned up
        return _publish(app, raw)
    documents.convert({**value, "bundle_dir": str(bundle)}, documents.Handoff)  # before a large copy is made
    frozen = _freeze(app, bundle)
    handoff = {"ts": time.time(), "source": "repairlab submit", "source_dir": str(bundle)}
    handoff |= value | {"bundle_dir": str(frozen.path)}
    output.say(f"repairlab: froze {output.plural(frozen.files, 'file')}, {output.size(frozen.bytes)}, from {bundle}")
    return _publish(app, documents.encode(documents.convert(handoff, documents.Handoff)))


def _is_spec(value: dict[str, Any]) -> bool:
    return str(value.get("schema", "")).startswith("spec/") or ("task" in value and "bundle_dir" not in value)


def _submit_spec(app: App, raw: bytes, fields: dict[str, Any]) -> Any:
    """Publish a spec as it stands; what options change is a handoff's."""
    if fields:
        name = next(iter(fields))
        raise UsageError(f"a spec has no {name}", fix="leave that option out: it is for code to be repaired")
    documents.decode(raw, documents.Spec)
    return _publish(app, raw, "specs")


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the handoff's fields that the options set."""
    found = {key: value for key, value in options.items() if value not in (None, (), [])}
    limits = {key: found.pop(key) for key in ("wall_s", "memory_mb") if key in found}
    if "key" in found:
        found["idempotency_key"] = found.pop("key")
    if "retire" in found:
        found["retired_tests"] = found.pop("retire")
    for name in ("tests", "editable", "held_out", "retired_tests"):
        if name in found:
            found[name] = list(found[name])
    return found | ({"limits": limits} if limits else {})


def _read(what: str) -> tuple[bytes | None, Path]:
    """Return the handoff's bytes, if there are any, and the directory that its paths are relative to."""
    if what == "-":
        return sys.stdin.buffer.read(documents.MAX_BYTES + 1), Path.cwd()
    path = Path(what).absolute()
    if path.is_dir():
        template = path / TEMPLATE
        return (_bytes(template) if template.is_file() else None), path
    if not path.exists():
        raise BadInput(f"{what} does not exist", field="DIR|FILE", fix="name a directory or a handoff file")
    if not path.is_file():
        raise BadInput(f"{what} is neither a directory nor a file", field="DIR|FILE", fix="name one of them")
    return _bytes(path), path.parent


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(documents.MAX_BYTES + 1)


def _warn_if_nobody_serves(app: App, queue: str) -> None:
    """Say so when the job would wait for ever, most often because this is not the state directory that was meant."""
    from repairlab.operate.checks.machine import TOOLGEN, serving, watchers

    if queue == "specs" and not serving(app.root, TOOLGEN):
        output.say(f"repairlab: no {TOOLGEN} serves {app.root} now: the spec waits until one does")
    elif queue != "specs" and not watchers(app.root):
        output.say(
            f"repairlab: no watcher serves {app.root} now; `repairlab doctor --only watcher` says how to start one"
        )


def _bundle(value: dict[str, Any], base: Path) -> Path:
    """Return the absolute directory that a handoff means."""
    named = value.get("bundle_dir", ".")
    if not isinstance(named, str) or "\0" in named:
        raise BadInput("it is not a path", field="bundle_dir", fix="name the directory with the failing code")
    return Path(os.path.normpath(base / named))


def _in_roots(app: App, bundle: Path) -> bool:
    """Whether the watcher will take this bundle_dir as it stands."""
    real = bundle.resolve()
    return any(real.is_relative_to(root.resolve()) for root in config.bundle_roots(app.settings, app.root))


def _freeze(app: App, bundle: Path) -> Any:
    from repairlab.sandbox.bundle import BundleLimits, make_durable, snapshot

    bounds = app.settings.bundles
    limits = BundleLimits(max_files=bounds.max_files, max_bytes=bounds.max_bytes)
    store = config.bundles_dir(app.root)
    # The person names the directory with their own rights: its own parent is root enough.
    frozen = snapshot(bundle, roots=[bundle.resolve().parent], store=store, limits=limits)
    make_durable(frozen.path)
    return frozen


def _publish(app: App, raw: bytes, queue: str = "repair") -> Any:
    """Publish so that the service can read it, who may be another user, whatever this person's umask hides."""
    spool = app.spool(queue)
    before = os.umask(0o022)
    os.umask(before & 0o022)
    try:
        spool.create()
        return spool.publish(raw)
    finally:
        os.umask(before)
