"""The parts of the operator's command line that need no spool: commands, ids, reports, classes."""

import io
import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import click
import pytest

from repairlab.errors import Forbidden, TemporaryFailure, UsageError
from repairlab.operate import app, main, report, shape, views


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_promise_in_the_help_is_the_first_line_of_the_command(name):
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == main.COMMANDS[name][1]


def test_every_command_takes_json():
    def leaves(command):
        if isinstance(command, click.Group):
            for child in command.list_commands(click.Context(command)):
                yield from leaves(command.get_command(click.Context(command), child))
        else:
            yield command

    for command in leaves(main.cli):
        assert any("--json" in parameter.opts for parameter in command.params), command.name


def test_ids_come_once_each_and_from_the_first_words_of_stdin(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("bbbb\tok\tmore\n\naaaa\n  cccc x\n"))
    assert app.read_ids(["aaaa", "-", "dddd", "dddd"]) == ["aaaa", "bbbb", "cccc", "dddd"]


def test_an_empty_stdin_names_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(UsageError, match="no id was given"):
        app.read_ids(["-"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [(PermissionError(13, "no", "/x"), Forbidden), (OSError(28, "full", "/x"), TemporaryFailure)],
)
def test_what_the_system_refuses_becomes_an_error_with_a_fix(error, kind):
    with pytest.raises(kind, match="/x") as caught, app.kindly():
        raise error
    assert caught.value.fix


def test_who_meets_a_lease_is_told_to_wait_and_not_to_free_anything(tmp_path):
    path = tmp_path / "leased"
    path.touch()
    # A child's: the break of a lease signals its holder, who would be this process.
    lease = "import fcntl, sys; file = open(sys.argv[1], 'r+b'); fcntl.fcntl(file, fcntl.F_SETSIG, 23)"
    lease += "; fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", lease, path], **pipes) as holder:
        holder.stdout.readline()
        with pytest.raises(TemporaryFailure, match="leased") as caught, app.kindly():
            os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        holder.communicate()
    assert "the kernel ends within a minute" in caught.value.fix
    assert "free" not in caught.value.fix


def test_other_errors_of_the_system_stay_bugs():
    with pytest.raises(IsADirectoryError), app.kindly():
        raise IsADirectoryError(21, "is a directory")


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["list", "--json"], "list"),
        (["--json", "config", "show"], "config-show"),
        (["config", "--json"], "config"),
        (["--root", "/x", "show", "list"], "show"),
        (["--json"], "repairlab"),
    ],
)
def test_an_envelope_of_a_failed_command_line_is_named_after_its_command(argv, name):
    assert main._named(argv) == name


def test_failures_are_counted_since_the_last_pardon():
    events = [{"event": e} for e in ("started", "failed", "crashed", "retried", "deferred", "failed", "orphaned")]
    assert views.failures(events) == 2


def test_a_job_took_what_its_attempts_took_and_not_what_it_waited():
    def at(event, boottime_s, boot_id="a"):
        return {"event": event, "boottime_s": boottime_s, "boot_id": boot_id}

    events = [at("started", 1.0), at("failed", 3.5), at("started", 90.0), at("finished", 91.0)]
    assert views.worked(events) == 3.5
    assert views.worked([at("started", 1.0), at("orphaned", 500.0, "b"), {"event": "started"}]) == 0.0


def test_a_reason_is_told_in_one_sentence_with_its_field_and_fix():
    assert (
        views.sentence({"reason": "missing", "field": "bundle_dir", "fix": "add it"}) == "bundle_dir: missing; add it"
    )
    assert views.sentence({"reason": "exhausted", "why": "failed 3 times"}) == "exhausted (failed 3 times)"
    assert views.sentence({"why": "its owner died"}) == "its owner died"
    assert views.sentence({}) == ""


def row(state: str, reason: str | None, age_s: float) -> dict:
    return {"state": state, "reason": reason, "age_s": age_s, "lineage": "a"}


def test_the_shape_counts_equal_reasons_with_other_numbers_and_paths_together():
    rows = [
        row("rejected", "bundle_dir: /a/b cannot be used: gone", 10),
        row("rejected", "bundle_dir: /c cannot be used: gone", 301),
        row("hard_fail", "the document has 3 bytes", 90000),
        row("hard_fail", "the document has 70 bytes", 9e9),
        row("waiting", None, 0),
    ]
    matrix = shape.shape(rows, "class")
    assert matrix == [
        {"class": "hard_fail: the document has N bytes", "total": 2, "counts": [0, 0, 0, 0, 1, 0, 1]},
        {"class": "rejected: bundle_dir", "total": 2, "counts": [1, 1, 0, 0, 0, 0, 0]},
        {"class": "waiting", "total": 1, "counts": [1, 0, 0, 0, 0, 0, 0]},
    ]
    assert sum(sum(entry["counts"]) for entry in matrix) == len(rows)


def job(**fields) -> dict:
    base = {
        "id": "ab" * 12,
        "state": "ok",
        "since": datetime(2026, 1, 2, tzinfo=UTC),
        "lineage": "l",
        "name": "handoff-x.json",
        "reason": None,
        "document": {"bundle_dir": "/srv/p"},
        "telemetry": {"ok": True, "strategy": "heuristic_microfix", "attempts": 7, "timings": {"total_s": 1.5}},
        "patch": "--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-a\n+b\n",
        "patch_path": "/srv/root/it's/patch.diff",
        "history": [],
    }
    return base | fields


def test_a_report_says_what_was_done_and_how_to_apply_it():
    text = "\n".join(report.markdown(job()))
    assert text.startswith("# Repair of `/srv/p`\n\nA plausible patch was found")
    assert "```diff\n--- a/m.py\n" in text
    assert "git apply '/srv/root/it'\"'\"'s/patch.diff'" in text
    assert "| Wall time | 1.5 s |" in text


def test_a_report_cannot_be_broken_out_of_by_what_strangers_wrote():
    hostile = job(
        state="hard_fail",
        reason="<script>alert(1)</script> [x](javascript:y)\n# heading | cell",
        lineage="`; rm -rf | x",
        patch="```\n# not a heading\n````\n\x1b[2J",
        telemetry={"failing": ["`test`", 3], "timings": "no", "details": "*bold*"},
        history=[{"event": "failed|x", "reason": "a | b"}],
    )
    lines = list(report.markdown(hostile))
    assert [line for line in lines if line.startswith("#")] == (
        ["# Repair of `/srv/p`", "## Why", "## Failing tests", "## Patch", "# not a heading", "## History"]
    )
    inside = lines[lines.index("`````diff") : lines.index("`````")]
    assert "# not a heading" in inside
    assert not any(re.search(r"(?<!\\)<", line) or "\x1b" in line for line in lines)
    assert all(line.count("|") == 4 for line in lines if line.startswith("| -"))


def test_a_report_of_a_noop_offers_no_patch():
    text = "\n".join(report.markdown(job(telemetry={"strategy": "noop"}, patch="")))
    assert "Nothing to repair" in text
    assert "## Patch" not in text
