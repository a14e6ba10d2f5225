"""A declared benchmark through the real repairlab-evaluator: what it decides, and who cannot cheat by it."""

import json
from pathlib import Path

import pytest
from world import RIGHT, TESTS, World

from repairlab.metrics import MetricsLog
from repairlab.spool import State

pytestmark = pytest.mark.timeout(300)
BENCHMARK = "from m import total\nprint(total(range(20_000)))\n"
SLOW = RIGHT.replace("    for", "    [sum(range(1000)) for _ in xs]\n    for")  # which two numbers do not show
TIMED = {"files": {"bench.py": BENCHMARK}, "benchmark": "./bench.py"}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state")


def outcome(world, job):
    """What the evaluation found, as the job keeps it."""
    kept = json.loads((Path(world.queue.find(job).path) / "evaluation.json").read_bytes())
    return kept["outcome"]


def test_a_benchmark_shows_what_the_tests_are_too_short_for(world):
    world.hand_in(SLOW)
    world.hand_in(SLOW, lineage="timed", **TIMED)
    world.evaluate()
    alike, quick = world.hand_in(RIGHT), world.hand_in(RIGHT, lineage="timed", **TIMED)
    world.evaluate()
    assert world.rows()[alike] == "not_better", "by its tests it is no quicker"
    assert world.rows()[quick] == "promoted"
    found = outcome(world, quick)
    assert found["benchmark"] == "bench.py"
    assert found["time_ratio"][0] < 0.5, "the median: a busy machine may spoil single pairs"
    row = next(row for row in MetricsLog(world.root / "metrics").rows() if row.id == quick)
    assert (row.benchmark, row.benchmark_ms > 0) == ("bench.py", True)
    assert "- Benchmark: `bench.py`, " in (world.root / f"patches/timed/{quick}.md").read_text()


EASY = "print('quick')\n"
BROUGHT = {
    "another of that name": {"files": {"bench.py": EASY}, "benchmark": "bench.py"},
    "a source of that name": {"files": {"bench.py": EASY}},
    "another": {"files": {"other.py": EASY}, "benchmark": "other.py"},
}


@pytest.mark.parametrize("what", BROUGHT)
def test_the_champions_benchmark_stands_whatever_a_challenger_brings_instead(world, what):
    champion = world.hand_in(RIGHT, **TIMED)
    world.evaluate()
    documented = SLOW.replace(":\n", ':\n    """Add up."""\n', 1)  # better by words, if it were not slower
    job = world.hand_in(documented, **BROUGHT[what])
    world.evaluate()
    assert (world.champion(), world.rows()[job]) == (champion, "not_better")
    assert outcome(world, job)["benchmark"] == "bench.py"
    assert outcome(world, job)["time_ratio"][1] > 2


FORGER = """import json, os, struct
said = json.dumps({"exit": 0, "output": "1", "wall_s": 1e-9, "cpu_s": 1e-9, "peak_kb": 1}).encode()
for fd in range(3, 64):
    try:
        os.write(fd, struct.pack(">I", len(said)) + said)
    except OSError:
        pass
raise SystemExit(4)
"""
UNFIT = {
    "hangs": ("import time\nprint(1, flush=True)\ntime.sleep(600)\n", "does not end in time", "incorrect"),
    "fails": ("print(1)\nraise SystemExit(3)\n", "ends with status 3", "incorrect"),
    "says nothing": ("import m\n", "prints nothing", "incorrect"),
    "says the time": ("import time\nprint(time.time_ns())\n", "something else each time", "unstable"),
    "kills its parent": ("import os\nos.kill(os.getppid(), 9)\nprint(1)\n", "ends with status -1", "incorrect"),
    "forges a verdict": (FORGER, "ends with status 4", "incorrect"),
}


def test_a_benchmark_that_measures_nothing_makes_no_champion(world):
    jobs = {
        how: world.hand_in(RIGHT, lineage=how.replace(" ", "-"), files={"bench.py": text}, benchmark="bench.py")
        for how, (text, _, _) in UNFIT.items()
    }
    world.evaluate(REPAIRLAB_EVALUATOR_WALL_S="25")
    for how, (_, why, decision) in UNFIT.items():
        assert world.rows()[jobs[how]] == decision, how
        assert why in outcome(world, jobs[how])["why"], how
        assert not (world.root / "champions" / how.replace(" ", "-")).exists()


CHEATS = {
    "ends it": ("import os\n", "    if len(xs) > 10:\n        os._exit(0)\n", "incorrect", "prints nothing"),
    "skips it": ("", "    if len(xs) > 10:\n        return len(xs)\n", "not_better", "otherwise than the champion"),
    "varies": ("", "    if len(xs) > 10:\n        return id([]) + len(repr(object()))\n", "unstable", "each time"),
}


@pytest.mark.parametrize("how", CHEATS)
def test_code_that_does_not_do_what_it_is_timed_by_is_not_promoted(world, how):
    champion = world.hand_in(SLOW, **TIMED)
    world.evaluate()
    head, inside, decision, why = CHEATS[how]
    cheat = world.hand_in(head + RIGHT.replace("    n = 0\n", inside + "    n = 0\n"), **TIMED)
    world.evaluate()
    assert (world.rows()[cheat], world.champion()) == (decision, champion)
    assert why in outcome(world, cheat)["why"]


def test_a_patch_that_changes_the_benchmark_is_refused(world):
    job = world.hand_in(RIGHT, benchmark="m.py")
    world.evaluate()
    assert world.queue.find(job).state is State.REJECTED
    assert world.queue.find(job).reason()["field"] == "patch"


def test_a_test_that_only_the_champion_names_is_not_the_challengers_to_change(world):
    check = "from m import total\n\ndef test_three():\n    assert total([3]) == 3\n"
    champion = world.hand_in(RIGHT, files={"check.py": check}, named=["check.py", "test_m.py"])
    world.evaluate()
    wrong = RIGHT.replace("    n = 0\n", '    """Add up."""\n    n = 0 if len(xs) != 1 else 1\n')
    weaker = world.hand_in(wrong, files={"check.py": check.replace("== 3", "> 0")})
    world.evaluate()
    assert world.rows()[weaker] == "incorrect"
    assert world.champion() == champion


def test_targets_that_are_missed_are_told_and_keep_nobody_from_winning(world):
    asked = {"fitness": 0.5, "documentation": 1.0, "median_ms": 1e-3, "weight": 1}
    job = world.hand_in(RIGHT, targets=asked)
    world.evaluate()
    assert world.champion() == job
    (row,) = MetricsLog(world.root / "metrics").rows()
    assert [told.split()[0] for told in row.missed] == ["documentation", "median_ms", "weight:"]
    page = (world.root / f"patches/line/{job}.md").read_text()
    assert "- Misses a target: `documentation is 0, not at least 1`." in page
    assert "weight: not measured" in world.queue.find(job).attempts()[-1]["reason"]


def test_tests_that_are_named_by_globs_are_run(world):
    job = world.hand_in(RIGHT, named=["test_*.py"])
    world.evaluate()
    assert world.rows() == {job: "promoted"}


OLD = TESTS + "\n\ndef test_huge():\n    assert total([1000]) == 1000\n"
NEW = TESTS + "\n\ndef test_huge():\n    assert total([1000]) == 100\n"
CAPPED = RIGHT.replace("return n", "return min(n, 100)")


def test_tests_that_hold_no_more_are_asked_of_nobody_where_the_document_says_so(world):
    more = {"files": {"test_more.py": "from m import total\n\ndef test_more():\n    assert total([5, 6]) == 11\n"}}
    champion = world.hand_in(RIGHT, tests=OLD, **more)
    world.evaluate()
    refused = world.hand_in(CAPPED, tests=NEW)
    wrong = world.hand_in(CAPPED.replace("100", "10"), tests=NEW.replace("100\n", "10\n"), retired_tests=["test_m.py"])
    world.evaluate()
    assert world.rows() == {champion: "promoted", refused: "incorrect", wrong: "incorrect"}
    assert "test_m::test_huge; if they hold no more, see retired_tests" in outcome(world, refused)["why"]
    assert "test_more" in outcome(world, wrong)["why"], "of what was not retired nothing is taken back"
    meant = world.hand_in(CAPPED, tests=NEW, retired_tests=["test_m.py"])
    world.evaluate()
    assert world.champion() == meant
    assert outcome(world, meant)["retired"] == ["test_m.py"]
    assert "- No longer asked, as its handoff says: `test_m.py`." in (
        (world.root / f"patches/line/{meant}.md").read_text()
    )


def test_a_benchmark_that_holds_no_more_gives_way_to_the_challengers(world):
    world.hand_in(RIGHT, **TIMED)
    world.evaluate()
    other = {"files": {"other.py": BENCHMARK}, "benchmark": "other.py"}
    job = world.hand_in(SLOW, retired_tests=["bench.py"], **other)
    world.evaluate()
    assert outcome(world, job)["benchmark"] == "other.py"


OTHERWISE = {"pytest.ini": "[pytest]\npython_files = check_*.py\n"}
CHECK = TESTS + "\n\ndef test_big():\n    assert total([10]) == 10\n"


def test_tests_without_pytests_usual_names_are_not_the_challengers_to_weaken(world):
    champion = world.hand_in(RIGHT, tests=None, files=OTHERWISE | {"tests/check_m.py": CHECK})
    world.evaluate()
    assert world.champion() == champion
    wrong = RIGHT.replace("    n = 0\n", '    """Add up."""\n    n = 0 if len(xs) != 1 else 1\n')
    weaker = OTHERWISE | {"tests/check_m.py": CHECK.replace("== 10", "> 0"), "tests/check_more.py": TESTS}
    told = [{}, {"retired_tests": ["tests/check_more.py"]}, {"named": ["tests"], "retired_tests": ["pytest.ini"]}]
    jobs = [world.hand_in(wrong, tests=None, files=weaker, **more) for more in told]
    world.evaluate()
    assert [world.rows()[job] for job in jobs] == ["incorrect"] * 3
    assert world.champion() == champion
