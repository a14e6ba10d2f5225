"""The parts of a fitness: what they find, and what is noise."""

import random

import pytest

from repairlab.config import Settings
from repairlab.documents import Components, Decision
from repairlab.evaluate import comparison, documentation, safety
from repairlab.evaluate.contest import Duel, Evidence, _above
from repairlab.evaluate.fitness import better, fitness, missed
from repairlab.evaluate.yardstick import objection
from repairlab.trial.runs import Run


def parts(**fields) -> Components:
    ones = dict.fromkeys(("correctness", "safety", "performance", "robustness", "documentation", "stability"), 1.0)
    return Components(**(ones | fields))


WEIGHTS = Settings().evaluator.weights


def test_the_default_weights_make_a_perfect_contestant_one():
    assert fitness(parts(), WEIGHTS) == 1.0
    assert fitness(parts(safety=0), WEIGHTS) == 0.75


def test_a_test_that_fails_leaves_nothing():
    assert fitness(parts(correctness=0.999), WEIGHTS) == 0.0


def test_stability_multiplies():
    assert fitness(parts(stability=0.8), WEIGHTS) == 0.8


def test_equal_is_not_better():
    assert not better(0.9, 0.9)
    assert not better(0.9004, 0.9)
    assert better(0.91, 0.9)


def noisy(ratio, spread, count, seed):
    chance = random.Random(seed)
    return [
        (ratio * chance.uniform(1 - spread, 1 + spread), chance.uniform(1 - spread, 1 + spread)) for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_noise_proves_no_difference_and_a_difference_is_proved(seed):
    assert comparison.compared(noisy(1.0, 0.2, 15, seed)).proved == 1.0
    assert comparison.compared(noisy(0.5, 0.2, 15, seed)).proved == pytest.approx(0.5, rel=0.3)
    assert comparison.compared(noisy(2.0, 0.2, 15, seed)).proved > 1.3


def test_few_pairs_prove_nothing():
    assert comparison.compared([(1.0, 2.0)] * 7).proved == 1.0
    assert comparison.compared([(1.0, 2.0)] * 8).proved == 0.5
    assert comparison.compared([(0.0, 2.0)]).proved == 1.0


@pytest.mark.parametrize("count", [5, 8, 9, 12, 20])
def test_of_equals_at_most_one_in_a_hundred_is_taken_for_better_or_worse(count):
    wrong = sum(comparison.compared(noisy(1.0, 0.5, count, seed)).proved != 1 for seed in range(5000))
    assert wrong <= 65, "three standard deviations above 50"


def test_one_pair_that_the_machine_spoilt_does_not_hide_a_difference_in_twelve():
    assert comparison.compared([(1.0, 2.0)] * 11 + [(5.0, 2.0)]).proved == 0.5
    assert comparison.compared([(1.0, 2.0)] * 10 + [(5.0, 2.0)] * 2).proved == 1.0


def beside(**ours):
    """A duel of runs that take a second of either, but for `ours`."""
    usual = {"wall_s": 1.0, "cpu_s": 1.0}
    pairs = 8
    return Evidence([], {}, duel=Duel([Run(**(usual | ours))] * pairs, [Run(**usual)] * pairs)).time.proved


GOOD, OTHER, BAD = Run(exit=0, output="7"), Run(exit=0, output="8"), Run(exit=1, output="no")
LATE, SILENT = Run(timed_out=True, output="7"), Run(exit=0, output=" \n")


@pytest.mark.parametrize(
    ("ours", "theirs", "decision"),
    [
        ([GOOD, GOOD], [GOOD, GOOD], None),
        ([GOOD, GOOD], [LATE, GOOD], None),
        ([GOOD, GOOD], [LATE, LATE], None),
        ([GOOD, BAD], [GOOD, GOOD], Decision.UNSTABLE),
        ([GOOD, OTHER], [GOOD, GOOD], Decision.UNSTABLE),
        ([BAD, BAD], [GOOD, GOOD], Decision.INCORRECT),
        ([LATE], [GOOD], Decision.INCORRECT),
        ([SILENT], [GOOD], Decision.INCORRECT),
        ([LATE], [LATE], Decision.NOT_BETTER),
        ([GOOD], [OTHER], Decision.NOT_BETTER),
        ([GOOD], [BAD], Decision.NOT_BETTER),
        ([BAD], [BAD], Decision.NOT_BETTER),
        ([GOOD, GOOD], [GOOD, OTHER], Decision.NOT_BETTER),
    ],
)
def test_what_measures_nothing_is_not_compared(ours, theirs, decision):
    found = objection(ours, theirs)
    assert (found and found[0]) == decision


def test_a_path_is_retired_by_its_name_or_that_of_a_directory_it_lies_in():
    assert _above("tests/deep/test_a.py") == ["tests", "tests/deep", "tests/deep/test_a.py"]
    assert _above("test_a.py") == ["test_a.py"]


def test_targets_are_told_that_are_not_reached_or_that_nobody_measures():
    measured = {"fitness": 0.5, "median_ms": 20.0, "benchmark_ms": None}
    assert missed({"fitness": 0.5, "median_ms": 20}, measured) == []
    assert missed({"fitness": 0.6, "median_ms": 19, "benchmark_ms": 1, "x" * 99: 1}, measured) == [
        "fitness is 0.5, not at least 0.6", "median_ms is 20, not at most 19", "benchmark_ms: not measured",
        f"{'x' * 60}: not measured",
    ]  # fmt: skip


def test_quicker_is_what_takes_less_cpu_and_not_more_time():
    assert beside() == 1.0
    assert beside(cpu_s=0.5) == 0.5
    assert beside(wall_s=0.5) == 1.0, "the neighbours of one may have been quiet"
    assert beside(cpu_s=0.5, wall_s=2.0) == 2.0, "who sleeps instead is not quicker"
    assert beside(cpu_s=2.0, wall_s=0.5) == 2.0


def test_the_better_one_scores_one_and_the_other_its_share():
    assert comparison.scores(0.5) == (1.0, 0.5)
    assert comparison.scores(4.0) == (0.25, 1.0)
    assert comparison.scores(1.0) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import subprocess", "starts processes"),
        ("import os as o\no.system('ls')", "starts processes"),
        ("from os import system as s\ns('ls')", "starts processes"),
        ("import urllib.request", "uses the network"),
        ("from urllib import request", "uses the network"),
        ("import socket", "uses the network"),
        ("eval('1')", "runs code from data"),
        ("import builtins\nbuiltins.exec('1')", "runs code from data"),
        ("import pickle", "loads objects from bytes"),
        ("import os\nos._exit(0)", "ends the process"),
        ("import sys\n'pytest' in sys.modules", "looks for the test runner"),
        ("import os\nos.environ.get('PYTEST_CURRENT_TEST')", "looks for the test runner"),
        ("open('x', 'w')", "changes files"),
        ("open('x', mode)", "changes files"),
        ("from pathlib import Path\nPath('x').write_text('')", "changes files"),
        ("getattr(x, name)", "computes a name to look up"),
        ("import math\nmath.sqrt = len", "changes another module"),
        ("import math\nsetattr(math, 'sqrt', len)", "changes another module"),
        ("try:\n    f()\nexcept Exception:\n    pass", "swallows every error"),
        ("try:\n    f()\nexcept:\n    g()", "swallows every error"),
        ("def f(:", "cannot be parsed"),
    ],
)
def test_what_code_could_do_is_found_by_its_syntax(code, kind):
    assert safety.findings(code)[kind] == 1


@pytest.mark.parametrize(
    "code",
    [
        "# import subprocess\nx = 'os.system(1)'",
        '"""pytest runs this module with subprocess."""',
        "open('x')",
        "open('x', 'rb')",
        "getattr(x, 'name')",
        "class system:\n    pass\nsystem()",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "self.evaluate('x')",
        "def f(x):\n    x.y = 1",
    ],
)
def test_words_are_no_findings(code):
    assert not safety.findings(code)


def test_only_what_a_patch_adds_counts_and_a_second_of_a_kind_costs_little():
    old, new = {"a.py": b"import subprocess\n"}, {"a.py": b"import subprocess\nx = 1\n"}
    assert not safety.added(old, new)
    worse = safety.added(old, {"a.py": b"import subprocess\neval('1')\neval('2')\neval('3')\n"})
    assert worse == {"runs code from data": 3}
    assert safety.score(worse) == 0.375
    assert safety.score(safety.findings("import socket, subprocess, pickle")) == 0.0


DOCUMENTED = b'''"""A module."""


def told(x):
    """Do it.

    Args:
        x: what to do
    """


def sphinx(x):
    """Do it.

    :param int x: what to do
    """


def numpy(x):
    """Do it.

    Parameters
    ----------
    x : int
        What to do.

    Returns
    -------
    int
    """


def _private():
    pass
'''


def test_what_is_documented_and_true_is_worth_all():
    assert documentation.score({"a.py": DOCUMENTED}) == 1.0
    assert documentation.score({"a.py": b"x = 1\n"}) == 1.0, "nothing to document"


@pytest.mark.parametrize("name", [b"told", b"sphinx", b"numpy"])
def test_a_parameter_that_is_told_of_and_not_there_costs_half(name):
    drifted = DOCUMENTED.replace(b"def " + name + b"(x)", b"def " + name + b"(y)")
    assert documentation.score({"a.py": drifted}) == pytest.approx(3.5 / 4)


def test_what_is_not_documented_is_worth_nothing():
    assert documentation.score({"a.py": b"def f():\n    pass\n"}) == 0.0
    assert documentation.score({"a.py": b"def f(:\n"}) == 1.0, "what does not parse is not about documentation"
