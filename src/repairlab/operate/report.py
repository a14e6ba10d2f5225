"""report: one job as a short page of Markdown: what failed, what was done about it, how to apply it.

The words are careful: a patch that passes the given tests is *plausible*, and only a person can call it right.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from repairlab.operate import output, views

VERDICTS = {
    "ok": "A plausible patch was found and verified: all tests pass in a fresh sandbox.",
    "noop": "Nothing to repair: all tests pass as they are.",
    "hard_fail": "No patch was found.",
    "rejected": "The handoff could not be used.",
}


def markdown(job: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the report of a job (as `views.whole` tells it)."""
    told = job["telemetry"] or {}
    noop = told.get("strategy") == "noop"
    verdict = VERDICTS.get("noop" if noop and job["state"] == "ok" else job["state"])
    yield f"# Repair of {_code(_subject(job))}"
    yield ""
    yield verdict or f"Not finished: the job is {job['state']}."
    yield ""
    yield from _facts(job, told)
    if job["reason"] and job["state"] != "ok":  # how it was repaired stands among the facts
        yield from ["", "## Why", "", _text(job["reason"])]
    if failing := _names(told.get("failing")):
        yield from ["", "## Failing tests", "", *(f"- {_code(name)}" for name in failing)]
    if job["patch"] and not noop:
        yield from ["", "## Patch", "", *_fenced(job["patch"], "diff"), "", *_apply(job)]
    yield from _attempts(job["history"])


def _subject(job: dict[str, Any]) -> str:
    document = job["document"] if isinstance(job["document"], dict) else {}
    return str(document.get("source_dir") or document.get("bundle_dir") or job["name"])


def _facts(job: dict[str, Any], told: dict[str, Any]) -> Iterator[str]:
    timings = told.get("timings")
    total = timings.get("total_s") if isinstance(timings, dict) else None
    pairs = [
        ("Job", _code(job["id"])),
        ("State", f"{job['state']} since {output.instant(job['since'])}"),
        ("Lineage", _code(job["lineage"])),
        ("Strategy", _text(str(told.get("strategy") or ""))),
        ("Details", _text(str(told.get("details") or ""))),
        ("Candidates tried", str(told.get("attempts", ""))),
        ("Wall time", output.duration(total) if isinstance(total, int | float) else ""),
        ("Sandbox", _text(str(told.get("sandbox") or ""))),
    ]
    yield "| | |"
    yield "|---|---|"
    for key, value in pairs:
        if value:
            yield f"| {key} | {value.replace('|', '&#124;')} |"


def _apply(job: dict[str, Any]) -> Iterator[str]:
    yield "In the project's directory, after having read it:"
    yield ""
    yield from _fenced(f"git apply {shlex.quote(job['patch_path'])}\n", "sh")


def _attempts(events: list[dict[str, Any]]) -> Iterator[str]:
    if not events:
        return
    yield from ["", "## History", "", "| at | event | |", "|---|---|---|"]
    for event in events:
        why = views.sentence(event) or (f"effort {event['effort']}" if "effort" in event else "")
        cells = [output.instant(views.when(event)), _text(str(event["event"])), _text(why)]
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _names(value: Any) -> list[str]:
    return [str(item) for item in value[:20]] if isinstance(value, list) else []


def _text(value: str) -> str:
    """Return a stranger's words as one line of plain text: no Markdown, no HTML, no control characters."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", output.line(value))


def _code(value: str) -> str:
    """Return a stranger's words as a code span that they cannot end."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", value)), default=0))
    pad = " " if ticks != "`" else ""
    return f"{ticks}{pad}{output.line(value)}{pad}{ticks}"


def _fenced(text: str, language: str) -> Iterator[str]:
    """Yield a code block that its own text cannot end."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    yield fence + language
    yield from output.clean(text).removesuffix("\n").split("\n")
    yield fence
