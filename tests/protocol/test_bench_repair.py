"""bench/repair.py judges as it says: on a small task with a judge that overlooks something."""

import json
import random
import re
import threading
from pathlib import Path

import localize
import pytest
import reach
import repair
from agreement import HARNESS, disagreement
from probe import generating, hunks, killed, probe
from trials import patched, pytest_run

from repairlab.repair import search
from repairlab.repair.candidates import Change
from repairlab.repair.confirmation import Confirmation
from repairlab.repair.verification import Verification
from repairlab.trial.overfitting import Guard
from repairlab.trial.source import Source

BUGGY = """def largest(values, floor):
    best = floor
    for value in values:
        if value < best:
            best = value
    return best
"""
REFERENCE = BUGGY.replace("<", ">")
SHALLOW = BUGGY.replace("    return best", "    return max(values)")  # forgets `floor`
JUDGE = """from tool.tool import largest


def test_it():
    assert largest([1, 5, 2], 0) == 5
    assert largest([4, 3], 1) == 4
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("task")
    files = {
        "bundle/tool/__init__.py": "",
        "bundle/tool/tool.py": BUGGY,
        "bundle/tests/test_tool.py": JUDGE,
        "judge/test_full.py": JUDGE,
        "judge/reference.py": REFERENCE,
        "handoff_t.json": json.dumps({"bundle_dir": str(place / "bundle")}),
    }
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def changed(task: Path, tmp_path: Path, text: str) -> Path:
    diff = tmp_path / "empty.diff"
    diff.write_bytes(b"")
    with patched(task / "bundle", diff) as copy:
        target = tmp_path / "copy"
        copy.rename(target)
    (target / "tool/tool.py").write_text(text)
    return target


def test_a_patch_that_passes_the_judge_and_is_wrong_elsewhere_is_told_by_an_input(task, tmp_path):
    copy = changed(task, tmp_path, SHALLOW)
    assert pytest_run(copy).exit == 0
    told = disagreement(task, copy, seed=0)
    assert told.startswith("largest(")
    assert told == disagreement(task, copy, seed=0)


def test_a_patch_that_says_the_same_in_other_words_agrees(task, tmp_path):
    copy = changed(task, tmp_path, "def largest(values, floor):\n    return max([floor, *values])\n")
    assert disagreement(task, copy, seed=0) == ""


@pytest.mark.parametrize("value", [{1, 2}, set(), frozenset(), [], (), {"a": []}, {"a": set(), "b": [[1]]}])
def test_any_container_an_argument_may_be_is_mutated_into_one_of_its_kind(value):
    space = {"patched": object}
    exec(re.sub("(?m)^import (reference_|tool).*$", "", HARNESS), space)
    for seed in range(200):
        pool = space["Pool"]([value])
        assert type(pool.mutated(value, random.Random(seed))) is type(value)


def test_the_probe_finds_the_reference_among_the_candidates_and_sees_it_pass(task):
    found = probe(task / "bundle", {"tool/tool.py": REFERENCE}, 60)
    assert found.place is not None
    assert found.rejected == ""


def test_the_probe_says_so_when_validation_kills_what_it_is_given(task):
    found = probe(task / "bundle", {"tool/tool.py": BUGGY.replace("= floor", "= floor - 1")}, 60)
    assert found.rejected.startswith("exhausted: no candidate passes")


def test_the_probe_says_so_when_the_plain_run_kills_the_reference(task, monkeypatch):
    monkeypatch.setattr(Confirmation, "plain", lambda *_: Verification(ok=False, why="a test fails", outcomes={}))
    found = probe(task / "bundle", {"tool/tool.py": REFERENCE}, 60)
    assert found.rejected == "verification_failed: what passed in the search fails in a plain run: a test fails"


@pytest.mark.parametrize(
    ("module", "name", "value", "why"),
    [
        (Guard, "objection", lambda *_: "looks for the test runner", "refused: looks for the test runner"),
        (
            Confirmation,
            "plain",
            lambda *_: Verification(ok=False, why="a test fails", outcomes={}),
            "plain run: a test fails",
        ),
    ],
)
def test_the_probe_says_so_when_what_is_found_among_others_is_killed_later(task, monkeypatch, module, name, value, why):
    monkeypatch.setattr(module, name, value)
    source = Source.decode("tool/tool.py", BUGGY.encode())
    edits = tuple(hunks("tool/tool.py", source.text, REFERENCE))
    wanted = Change(edits, ("tool/tool.py", 4), "reference", "the reference's edit", 1e-9)
    assert killed(task / "bundle", lambda _: [wanted], wanted, 60) == why


def test_a_probe_without_time_says_so_and_rejects_nothing(task):
    found = probe(task / "bundle", {"tool/tool.py": REFERENCE}, 0.01)
    assert found.rejected == ""
    assert found.late.startswith("deadline: ")


def test_patches_are_judged_up_to_the_first_that_is_right(task, monkeypatch):
    monkeypatch.setattr(repair, "judged", lambda _task, diff, _seed: {"agrees": diff.name == "01.diff"})
    diffs = [Path(f"{number:02}.diff") for number in range(3)]
    assert repair.judged_until_right(task, diffs, 0) == [{"agrees": False}, {"agrees": True}]


def test_reach_knows_from_a_baseline_what_is_suspicious_and_where_the_fix_stands(task, tmp_path):
    (case,) = reach.bundles(task.parent, tmp_path / "seen.json", [task.name])
    assert case.suspicion["tool/tool.py", 4] > 0
    assert case.types["tool/tool.py", 1, "best"] == "int"
    found = reach.candidates(case, 1)
    assert "value > best" in case.source.edited(found[reach.rank_of(case, found) - 1].edits)


def test_localize_places_the_line_that_the_fix_changes(task):
    runs, faulty = localize.runs_of(task)
    assert faulty == [("tool/tool.py", 4)]
    place, lines, _ = localize.placed(runs, faulty)
    assert place <= lines


def test_two_probes_at_once_replace_what_the_engine_generates_one_after_the_other():
    original = search.generate
    inside, left = threading.Event(), threading.Event()

    def other() -> None:
        with generating(lambda found: found):
            inside.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with generating(lambda found: found):
        mine = search.generate
        thread.start()
        assert not inside.wait(0.2)
        assert search.generate is mine
    assert inside.wait(10)
    left.set()
    thread.join()
    assert search.generate is original
