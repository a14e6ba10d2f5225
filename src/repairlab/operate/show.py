"""show: `repairlab show ID`: one job with its attempts, telemetry, patch and reason.

--diff writes the patch byte for byte where stdout is not a terminal, so that `repairlab show ID --diff | git apply`
works; on a terminal its control characters are escaped.
"""

import sys
from collections.abc import Iterator
from typing import Any

import click

from repairlab.errors import NegativeAnswer
from repairlab.operate import output, report, views
from repairlab.operate.app import Answer, App, command, queue_option, read_ids
from repairlab.operate.app import ids_argument as ids


@command("show")
@ids()
@click.option("--diff", "only", flag_value="diff", help="Only the patch, fit for `git apply` and `patch -p1`.")
@click.option("--report", "only", flag_value="report", help="A report in Markdown.")
@click.option("--document", "only", flag_value="document", help="Only the document as it was handed in.")
@queue_option()
def show_command(app: App, ids: tuple[str, ...], only: str | None, queue: str) -> Answer:
    """Show jobs: attempts, telemetry, patch, reason.

    With --diff the exit code is 1 if there is no patch.
    """
    spool = app.queue(queue)
    given = read_ids(ids)
    if only in ("diff", "document") and not app.json:
        return _raw(spool, given, only)
    found = [views.steadily(spool, job_id, views.whole) for job_id in given]
    make = report.markdown if only == "report" else _lines
    return Answer(data=found, text=(line for job in found for line in make(job)))


def _raw(spool: Any, given: list[str], only: str) -> Answer:
    missing = []
    for job_id in given:
        raw = views.steadily(spool, job_id, views.patch if only == "diff" else lambda job: job.document())
        if raw is None:
            missing.append(job_id)
        elif sys.stdout.isatty():
            print("\n".join(coloured(raw.decode("utf-8", "surrogateescape"))))
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(raw)
            sys.stdout.buffer.flush()
    error = (
        NegativeAnswer(f"no patch for {', '.join(missing)}", fix="`repairlab show ID` says why") if missing else None
    )
    return Answer(error=error)


def coloured(diff: str) -> Iterator[str]:
    """Yield the lines of a patch as a terminal may see them."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff.removesuffix("\n").split("\n"):
        head = "bold" if line.startswith(("+++", "---", "diff ")) else colours.get(line[:1], "")
        yield output.paint(output.clean(line), head)


def _lines(job: dict[str, Any]) -> Iterator[str]:
    yield from _facts(job)
    if job["explanation"]:
        yield from _section("Reason", _reason(job["explanation"]))
    if job["history"]:
        yield from _section("Attempts", _history(job["history"]))
    if job["telemetry"]:
        yield from _section("Telemetry", _telemetry(job["telemetry"]))
    if job["patch"]:
        yield from _section(f"Patch ({job['patch_path']})", coloured(job["patch"]))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield output.paint(output.line(title), "bold")
    yield from lines


def _pairs(pairs: list[tuple[str, str]]) -> Iterator[str]:
    width = max(len(key) for key, _ in pairs)
    for key, value in pairs:
        yield f"{key.ljust(width)}  {output.line(value)}"


def _facts(job: dict[str, Any]) -> Iterator[str]:
    state = output.paint(job["state"], views.COLOURS.get(job["state"], ""))
    yield f"{output.paint(job['id'], 'bold')}  {state}  since {output.instant(job['since'])}"
    document = job["document"] if isinstance(job["document"], dict) else {}
    pairs = [
        ("name", job["name"]),
        ("lineage", job["lineage"]),
        ("submitter", f"uid {job['submitter']}"),
        ("priority", str(job["priority"])),
        ("bundle", str(document.get("bundle_dir") or "-")),
        ("tries", f"{job['attempts']} ({output.plural(job['failures'], 'counted failure')})"),
        ("took", output.duration(job["wall_s"]) if job["attempts"] else "-"),
        ("due", output.instant(job["not_before"])),
        ("directory", job["path"]),
    ]
    yield from _pairs([(key, value) for key, value in pairs if value != "-"])


def _reason(told: dict[str, Any]) -> Iterator[str]:
    names = ("field", "reason", "why", "fix")
    return _pairs([(key, str(told[key])) for key in names if told.get(key)])


def _history(events: list[dict[str, Any]]) -> Iterator[str]:
    known = {"event", "at", "boot_id", "boottime_s", "day", "fingerprint"}
    for event in events:
        more = " ".join(f"{key}={value}" for key, value in event.items() if key not in known and value != "")
        yield f"{output.instant(views.when(event))}  {output.line(str(event['event'])).ljust(11)}  {output.line(more)}"


def _telemetry(told: dict[str, Any]) -> Iterator[str]:
    names = ("ok", "strategy", "reason", "details", "pattern_id", "effort", "attempts", "tests", "sandbox", "python")
    shown = [(key, str(told[key])) for key in names if told.get(key) not in (None, "", [])]
    failing = told.get("failing")
    if isinstance(failing, list) and failing:
        shown.append(("failing", ", ".join(map(str, failing[:5])) + (" …" if len(failing) > 5 else "")))
    shown += _worth(told)
    timings = told.get("timings")
    if isinstance(timings, dict):
        parts = [f"{key.removesuffix('_s')} {output.duration(value)}" for key, value in _numbers(timings)]
        shown.append(("time", ", ".join(parts)))
    yield from _pairs(shown or [("telemetry", "empty")])
    yield from _candidates(told.get("candidates"))


def _worth(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What the first patch is worth, and what a person could say to know more."""
    found = [(key, str(told[key])) for key in ("correct", "confidence") if told.get(key) is not None]
    if told.get("clusters"):
        found.append(("clusters", str(told["clusters"])))
    asked = told.get("question")
    if isinstance(asked, dict):
        found.append(("question", f"{asked.get('call')}: {asked.get('likeliest')}, or {asked.get('other')}?"))
    return found


def _numbers(timings: dict[str, Any]) -> Iterator[tuple[str, float]]:
    return ((key, value) for key, value in timings.items() if isinstance(value, int | float) and value)


def _candidates(candidates: Any) -> Iterator[str]:
    """The N-best list, best first; the field comes from the sandbox, so nothing in it is believed to be there."""
    rows = [item for item in candidates if isinstance(item, dict)] if isinstance(candidates, list) else []
    for item in rows[:10]:
        where = f"{item.get('file')}:{item.get('line')}"
        passed = f"{item.get('passed')}/{item.get('tests')} tests"
        cells = [str(item.get("diff")), where, str(item.get("transformation")), passed]
        yield "  " + output.line("  ".join(cells))
