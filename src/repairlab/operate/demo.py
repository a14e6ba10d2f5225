"""demo: `repairlab demo`: the main job on a real failing project, in a state directory of its own.

Hands an example in, lets the real watcher drain the queue, prints the patch and where it and the report lie. Needs no
root rights, no systemd and no configuration; touches nothing but a fresh directory, which stays for you to look at.
Events are told on stderr as they happen; stdout carries the patch.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from repairlab.errors import NegativeAnswer, RepairLabError, Unavailable, UsageError
from repairlab.operate import output, views
from repairlab.operate.app import Answer, App, command
from repairlab.spool import State

WATCHER = "repairlab-queue-watcher"
TIMEOUT_S = 600.0


@command("demo")
@click.argument("directory", required=False)
@click.option("--list", "listed", is_flag=True, help="Only list the examples.")
def demo_command(_app: App, directory: str | None, listed: bool) -> Answer:
    """Repair a real failing project before your eyes.

    DIRECTORY is any project, or the name of an example; the first repairable example unless given. Exit 1 if it was
    not repaired.
    """
    if listed:
        found = [path.name for path in examples()]
        return Answer(data=found, text=found)
    began = time.monotonic()
    project = _project(directory)
    place = App(Path(os.environ["REPAIRLAB_ROOT"]) if "REPAIRLAB_ROOT" in os.environ else _fresh())
    output.say(f"repairlab: repairing {project} with all state in {place.root}")
    job_id = _handed_in(place, project)
    _drain(place, job_id)
    job = views.steadily(place.spool(), job_id, views.whole)
    data = {**_result(place, job), "project": project, "wall_s": round(time.monotonic() - began, 3)}
    error = None
    if job["state"] != State.OK:
        error = NegativeAnswer(f"not repaired: the job is {job['state']}", fix=f"read {data['report_path']}")
    return Answer(data=data, text=_lines(job, data), error=error)


def _project(named: str | None) -> Path:
    """Return the directory that was asked for: a path, or an example's name."""
    if named is None:
        return examples()[0]
    if (path := Path(named)).is_dir():
        return path.absolute()
    if found := [example for example in examples() if example.name == named]:
        return found[0]
    raise UsageError(f"{named} is neither a directory nor an example", fix="see `repairlab demo --list`")


def examples() -> list[Path]:
    """Return the examples, the repairable ones first; Unavailable where they were not installed."""
    here = Path(__file__).resolve()
    for place in (here.parents[3] / "examples", Path(sys.prefix) / "share/repairlab/examples"):
        found = [path for path in sorted(place.glob("*/")) if any(path.rglob("test*.py"))]
        if found:
            return sorted(found, key=lambda path: any(word in path.name for word in ("hopeless", "passing", "noop")))
    raise Unavailable("the examples are not installed", fix="name a directory of your own: `repairlab demo DIR`")


def _fresh() -> Path:
    return Path(tempfile.mkdtemp(prefix="repairlab-demo-"))


def _handed_in(place: App, project: Path) -> str:
    from repairlab.operate.submit import submit

    return str(submit(place, str(project)).id)


def _drain(place: App, job_id: str) -> None:
    """Run the watcher until the queue is empty, and tell what happens meanwhile."""
    from repairlab import process

    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(place, job_id, done), daemon=True)
    teller.start()
    try:
        # In this thread: an interrupt then ends the watcher and everything that it has started.
        ended = process.run([*_watcher(), "--once", "--root", str(place.root)], timeout=TIMEOUT_S)
    finally:
        done.set()
        teller.join()
    if ended.code != os.EX_OK:
        said = ended.err.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"exit code {ended.code}"
        raise Unavailable(f"the watcher gave up: {why}", fix="see `repairlab doctor`")


def _watcher() -> list[str]:
    """Return the command of the watcher that belongs to this installation."""
    beside = [
        Path(sys.argv[0]).resolve().parent,
        Path(__file__).resolve().parents[3] / "bin",
        Path(sys.executable).parent,
    ]
    for directory in beside:
        if (directory / WATCHER).is_file():
            return [sys.executable, str(directory / WATCHER)]
    if found := shutil.which(WATCHER):
        return [found]
    raise Unavailable(f"{WATCHER} is not installed", fix="run the demo from where RepairLab is installed")


def _tell(place: App, job_id: str, done: threading.Event) -> None:
    """Print each event of the job on stderr; on a terminal with a spinner while it is searched."""
    from repairlab.operate.waiting import FOLLOW_S, Tail

    began = time.monotonic()
    tail = Tail(place.spool(), {job_id}, since=None)
    with _spinner():
        last = False
        while not last:
            last = done.wait(FOLLOW_S / 2)  # one more look after the end, or its last events would go untold
            with suppress(RepairLabError, OSError):
                for _, event in tail.poll():
                    what = views.sentence(event) or (f"effort {event['effort']}" if "effort" in event else "")
                    output.say(f"{time.monotonic() - began:6.1f} s  {event['event']}  {what}".rstrip())


class _spinner:  # noqa: N801  # a context manager that reads as a word
    """A sign of life on a terminal that wants one; nothing elsewhere."""

    def __enter__(self) -> None:
        self._status: Any = None
        if output.wants_colour(sys.stderr):
            from rich.console import Console

            self._status = Console(stderr=True).status("searching for a patch")
            self._status.start()

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


def _result(place: App, job: dict[str, Any]) -> dict[str, Any]:
    """Write the report and return where everything lies."""
    from repairlab.operate.report import markdown

    report = place.root / "reports" / f"{job['id']}.md"
    report.parent.mkdir(exist_ok=True)
    report.write_text("\n".join(markdown(job)) + "\n", encoding="utf-8")
    return {
        "id": job["id"],
        "state": job["state"],
        "root": place.root,
        "report_path": report,
        "patch_path": job["patch_path"],
        "patch": job["patch"],
    }


def _lines(job: dict[str, Any], data: dict[str, Any]) -> Iterator[str]:
    from repairlab.operate.show import coloured

    told = job["telemetry"] or {}
    if job["patch"]:
        yield from coloured(job["patch"])
        yield ""
    verdict = (
        "repaired: all tests pass with this patch" if job["state"] == State.OK else f"not repaired: {job['reason']}"
    )
    if told.get("strategy") == "noop" and job["state"] == State.OK:
        verdict = "nothing to repair: all tests pass as they are"
    yield output.paint(output.line(verdict), "green" if job["state"] == State.OK else "red")
    yield f"patch   {output.line(job['patch_path'] or 'none')}"
    yield f"report  {data['report_path']}"
    yield f"time    {output.duration(data['wall_s'])}"
