"""The repair benches' tables: the cause of a miss, the halves, what was gained and lost."""

import figures
import program
import pytest
from trials import half


def row(task: str = "t", **fields: object) -> dict:
    base = {"task": task, "half": "A", "ok": True, "patched": True, "judged": True, "agrees": True, "same": False}
    base |= {"listed": True, "attempts": 10, "candidates_per_s": 100.0, "wall_s": 1.0, "timings": None, "cause": None}
    return base | {"reason": None, "place": None, "rejected": ""} | fields


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"ok": False, "reason": "exhausted"}, "space"),
        ({"ok": False, "reason": "exhausted", "place": 7}, "false reject"),
        ({"ok": False, "reason": "exhausted", "place": 11}, "time"),
        ({"ok": False, "reason": "deadline"}, "space"),
        ({"ok": False, "reason": "deadline", "place": 900}, "time"),
        ({"agrees": False, "place": 7}, "rank"),
        ({"agrees": False}, "space"),
        ({"ok": False, "reason": "exhausted", "place": 3, "rejected": "1 tried (1 failed)"}, "false reject"),
        ({"agrees": False, "place": 7, "late": "deadline: no candidate passes"}, "not known"),
        ({"ok": False, "reason": "collection_error"}, "collection_error"),
    ],
)
def test_a_miss_has_the_cause_that_the_probe_found(fields, cause):
    assert figures.cause(row(**fields)) == cause


def test_shares_are_told_for_all_and_for_each_half():
    rows = [row("a"), row("b", half="B", agrees=False, judged=False, cause="rank"), row("c", half="B", patched=False)]
    told = figures.report(rows, "wall 1 s")
    (line,) = (each for each in told.splitlines() if each.startswith("| top-1 passes and agrees"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["2 of 3", "66.7%", "100.0%", "50.0%"]
    assert "rank             1  b" in told


def test_the_time_of_judges_and_probes_is_told_apart_from_that_of_the_agent():
    rows = [row(judge_s=2.5), row(judge_s=1.0, probe_s=30.0)]
    assert "seconds in all: agent 2, judges and comparisons 4, probes 30\n" in figures.report(rows, "wall 1 s")


def test_what_an_earlier_run_had_and_this_one_lacks_is_named_as_lost():
    told = figures.compared(
        [row("a"), row("b", agrees=False)], [row("a", agrees=False), row("b", attempts=20), row("c")]
    )
    assert "agrees   +1 b  -1 a" in told
    assert "1.41 times" in told


def test_a_name_alone_decides_the_half_of_a_case():
    halves = [half(f"case {number}") for number in range(100)]
    assert halves == [half(f"case {number}") for number in range(100)]
    assert 30 < halves.count("A") < 70


def test_a_case_that_was_missed_says_why_at_the_end_of_its_line():
    assert figures.why(row()) == ""
    assert figures.why(row(cause="rank", place=7)) == "[rank 7 ] "
    assert figures.why(row(cause="false reject", place=3, rejected="1 failed")) == "[false reject 3 1 failed] "


def test_a_run_keeps_its_rows_and_ends_with_one_where_a_true_fix_was_refused(tmp_path, capsys):
    command = program.parser_of_attempts("Many.", wall_s=5.0, seed_of="nothing")
    options = command.parse_args(["--jobs", "2", "--json", str(tmp_path / "rows.json")])
    rows = program.attempted(["a", "b"], row, lambda told: f"line {told['task']}", options.jobs)
    assert program.concluded(rows, options) == 0
    assert "line a\nline b\n" in capsys.readouterr().out
    options.against = options.json
    assert program.concluded([row("a", agrees=False, cause="false reject", place=1), rows[1]], options) == 1
    assert "agrees   +0   -1 a" in capsys.readouterr().out
