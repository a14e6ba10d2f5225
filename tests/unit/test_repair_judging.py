"""Localization, verdicts, allowances, the bundle's files, and the program that goes into the sandbox."""

import ast

import msgspec
import pytest

from repairlab.errors import BadInput
from repairlab.repair.attempt import alike
from repairlab.repair.ground import LEAST_S, Ground, allowances, order_of
from repairlab.repair.localization import ochiai, suspicious
from repairlab.repair.outcomes import Stop
from repairlab.repair.search import MORE_TIME, Search
from repairlab.repair.verification import judge, junit_name, unsteady_between
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial import server
from repairlab.trial.bundle import Bundle, is_test, matches
from repairlab.trial.testrun import TestRun
from repairlab.trial.validation import Baseline, BaselineTest, Collected, PlainRun

A, B, C = ("m.py", 1), ("m.py", 2), ("m.py", 3)


def run(outcome, *lines, crash=(), cpu=0.01, hits=1):
    return TestRun("t", outcome, cpu, "", dict.fromkeys(lines, hits), crash)


def test_a_line_that_only_the_failing_test_runs_is_the_most_suspicious():
    scores = ochiai([run("f", A, B)], [run("p", A), run("p", A, C)])
    assert scores[B] == 1.0
    assert scores[A] == pytest.approx(1 / 3**0.5)
    assert C not in scores


def test_the_innermost_crash_line_weighs_more_than_its_callers():
    scores = suspicious([run("e", A, B, C, crash=(A, B))], [run("p", A, B, C)])
    assert scores[B] > scores[A] > scores[C]


def test_lines_that_an_endless_test_runs_over_and_over_weigh_more():
    test = TestRun("t", "hang", 1.0, "", {A: 1, B: 5000}, ())
    scores = suspicious([test], [run("p", A, B)])
    assert scores[B] > scores[A]


def test_failing_tests_go_first_the_quick_ones_before_and_endless_ones_last():
    tests = [run("p", cpu=0.2), run("hang", cpu=0.0), run("f", cpu=0.5), run("e", cpu=0.1), run("s", cpu=0.1)]
    assert order_of(tests) == ([3, 2, 1, 4, 0], 3)


def test_of_quick_passing_tests_those_near_the_failing_ones_go_first():
    tests = [run("p", C), run("p", A, C), run("p", A, B, C), run("f", A, B), run("p", A, B, cpu=0.4)]
    assert order_of(tests) == ([3, 2, 1, 0, 4], 1)


def test_an_endless_test_is_allowed_what_its_passing_peers_need():
    assert allowances([run("hang", cpu=10.0), run("p", cpu=0.05)]) == [0.5, 0.5]
    assert allowances([run("f", cpu=0.001)]) == [LEAST_S]


def test_a_true_fix_may_take_seconds_where_the_bug_took_no_time():
    assert allowances([run("f", cpu=0.0), run("p", cpu=0.0)])[0] * max(MORE_TIME) >= 2


def search_allowing(*allow):
    tests = [run("f", A)] * len(allow)
    return Search(None, Ground(tests, range(len(allow)), len(allow), allow), None, 1, 0.0, None)


def test_what_more_time_costs_does_not_follow_the_clock():
    assert search_allowing(0.013)._longest == search_allowing(0.021, 0.012)._longest == LEAST_S
    assert search_allowing(0.48)._longest == search_allowing(0.52)._longest == 0.5


def test_tests_that_had_no_turn_the_second_time_are_not_called_flaky():
    tests = [run("f", A), run("p", A), run("p", A), run("p", A)]
    again = Baseline([BaselineTest(n, letter) for n, letter in enumerate("epf")], [3])
    assert alike(again, tests) == {0, 1, 3}
    with pytest.raises(Stop) as stop:
        alike(Baseline([], [0, 1, 2, 3], "killed by signal 9"), tests)
    assert stop.value.reason == "tests_unruly"


@pytest.mark.parametrize(
    "found",
    [
        {"causes": [{"message": "x" * 10**6}]},
        {"causes": [{"frames": [["mod.py", 1]] * 10**4}]},
        {"causes": [{}] * 10**4},
        {"errors": [["x" * 10**6, ""]]},
        {"lost": "x" * 10**6},
    ],
)
def test_what_the_sandbox_says_of_a_failed_collection_is_bounded(found):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(found), type=Collected)


IDS = {"tests/test_a.py::test_x": "f", "tests/test_a.py::K::test_y[1-é]": "p", "test_b.py::test_z": "s"}
CASES = [("tests.test_a", "test_x", "p"), ("tests.test_a.K", "test_y[1-é]", "p"), ("test_b", "test_z", "s")]


def test_a_plain_run_is_believed_when_status_and_report_agree():
    assert judge(PlainRun(exit=0, cases=CASES), IDS).ok


@pytest.mark.parametrize(
    ("why", "run"),
    [
        ("ended with status 1", PlainRun(exit=1, cases=CASES)),
        ("no report", PlainRun(exit=0, cases=None)),
        ("in time", PlainRun(exit=0, cases=CASES, timed_out=True)),
        ("other tests", PlainRun(exit=0, cases=CASES[:2])),
        ("other tests", PlainRun(exit=0, cases=[*CASES, ("test_b", "test_z", "p")])),
        ("skipped now", PlainRun(exit=0, cases=[("tests.test_a", "test_x", "s"), *CASES[1:]])),
        ("1 tests fail", PlainRun(exit=0, cases=[("tests.test_a", "test_x", "f"), *CASES[1:]])),
        ("1 tests fail", PlainRun(exit=0, cases=[("tests.test_a", "test_x", "e"), *CASES[1:]])),
    ],
)  # fmt: skip
def test_a_plain_run_is_not_believed_when(why, run):
    verification = judge(run, IDS)
    assert not verification.ok
    assert why in verification.why


STEADY = {"test_a.py::test_x[1]": "f", "test_a.py::test_y[0x7f01]": "f", "test_a.py::test_y[0x7f02]": "s"}
LATER = [("test_a", "test_x[1]", "p"), ("test_a", "test_y[0x5501]", "p"), ("test_a", "test_y[0x5502]", "s")]


def test_of_tests_whose_parameters_change_from_run_to_run_only_the_number_must_be_the_same():
    again = [test.replace("0x7f", "0x66") for test in STEADY]
    unsteady = unsteady_between(STEADY, again)
    assert unsteady == {("test_a", "test_y")}
    assert judge(PlainRun(exit=0, cases=LATER), STEADY, unsteady).ok
    assert not judge(PlainRun(exit=0, cases=LATER), STEADY).ok
    other = [("test_a", "test_x[2]", "p"), *LATER[1:]]
    for cases in (other, LATER[:2], [*LATER, LATER[1]], [LATER[0], ("test_a", "test_y[0x5501]", "s"), LATER[2]]):
        assert not judge(PlainRun(exit=0, cases=cases), STEADY, unsteady).ok


def test_junit_names_follow_pytest():
    assert junit_name("tests/test_a.py::K::test_y[a/b.py::c]") == ("tests.test_a.K", "test_y[a/b.py::c]")
    assert junit_name("test_a.py::test_y[\x01]") == ("test_a", "test_y[#x01]")


@pytest.fixture
def project(tmp_path):
    for name in ("pkg/core.py", "pkg/test_core.py", "tests/helper.py", "conftest.py", "setup.py", "checks/spec.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "pkg/binary.py").write_bytes(b"\xff\xfe\x00")
    return tmp_path


def read(path, tests=(), editable=()):
    return Bundle.read(path, tests=list(tests), editable=list(editable), limits=BundleLimits())


def test_sources_are_python_files_that_no_test_lives_in(project):
    assert sorted(read(project).sources) == ["checks/spec.py", "pkg/core.py"]


def test_what_the_handoff_names_as_tests_is_never_edited(project):
    assert sorted(read(project, tests=["checks"], editable=["checks/spec.py", "pkg/**"]).sources) == ["pkg/core.py"]


def test_editable_files_that_do_not_exist_are_bad_input(project):
    with pytest.raises(BadInput) as caught:
        read(project, editable=["nowhere/*.py"])
    assert caught.value.field == "editable"


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x.py", "--help", "missing_*.py"])
def test_tests_that_leave_the_bundle_or_do_not_exist_are_bad_input(project, pattern):
    with pytest.raises(BadInput) as caught:
        read(project, tests=[pattern])
    assert caught.value.field == "tests"


def test_named_tests_may_be_paths_globs_directories_and_single_tests(project):
    assert read(project, tests=["tests/", "./pkg/test_*.py", "pkg/test_core.py::test_x"]).tests == [
        "tests", "pkg/test_core.py", "pkg/test_core.py::test_x",
    ]  # fmt: skip


def test_globs_match_below_any_directory():
    assert matches("a/b/c.py", "**/c.py")
    assert matches("a/b/c.py", "a")
    assert not matches("ab/c.py", "a")
    assert is_test("a/tests/data.py")
    assert not is_test("a/contests.py")


def test_the_hash_with_a_change_is_that_of_the_changed_directory(project):
    changed = read(project).sha256({"pkg/core.py": b"x = 2\n"})
    before = read(project).sha256()
    (project / "pkg/core.py").write_text("x = 2\n")
    assert changed == read(project).sha256() != before


def test_the_program_for_the_sandbox_is_python_3_8():
    for program in (server.program(), server.program(plain=True), server.search()):
        ast.parse(program, feature_version=(3, 8))


def test_of_two_tests_with_one_name_in_the_report_neither_hides_the_other():
    ids = {"a/b.py::K::test_x": "f", "a/b/K.py::test_x": "p"}
    key = ("a.b.K", "test_x")
    assert judge(PlainRun(exit=0, cases=[(*key, "p"), (*key, "p")]), ids).ok
    for letter in "fs":
        assert not judge(PlainRun(exit=0, cases=[(*key, letter), (*key, "p")]), ids).ok


def test_a_module_that_was_skipped_as_a_whole_is_no_test_of_its_own():
    assert judge(PlainRun(exit=0, cases=[*CASES, ("", "tests.test_c", "s")]), IDS).ok
    assert not judge(PlainRun(exit=0, cases=[*CASES, ("", "tests.test_c", "e")]), IDS).ok
