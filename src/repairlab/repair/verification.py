"""verification: the plain run that alone decides `ok`.

`verify` runs plain `python -m pytest` on the patched files in a fresh sandbox and believes exit status and JUnit report
only together, and only where the tests are the ones that the unpatched bundle has.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from repairlab.trial.ahead import Ahead
from repairlab.trial.validation import ARGUMENTS, GRACE_S, PlainRun, ServerLost, Setup, ask


def verify(
    setup: Setup,
    files: Mapping[str, bytes],
    expected: Mapping[str, str],
    wall_s: float,
    unsteady: frozenset[tuple[str, str]] = frozenset(),
    ahead: Ahead | None = None,
) -> "Verification":
    """Run plain pytest on the bundle with `files` replaced; `expected` maps each test id to its letter at baseline.

    The sandbox is dismissed: `setup.close` waits for its end.
    """
    try:
        confined, _ = setup.start(files, wall_s + GRACE_S, ahead)
        try:
            request = {
                "op": "pytest",
                "arguments": [*ARGUMENTS, *setup.bundle.options, *setup.bundle.tests],
                "limit_s": wall_s,
            }
            run = ask(confined, request, PlainRun, wall_s + GRACE_S)
        finally:
            setup.dismiss(confined)
    except ServerLost as error:
        return Verification(False, f"the sandbox was lost: {error}", {})
    return judge(run, expected, unsteady)


@dataclass(frozen=True)
class Verification:
    """What a plain run says: `ok` with all expected tests, else `why`; `outcomes` by JUnit name; `late` if cut off."""

    ok: bool
    why: str
    outcomes: Mapping[tuple[str, str], str]
    wall_s: float = 0.0
    late: bool = False


OTHER_TESTS = "the plain run has other tests than the search"


def judge(
    run: PlainRun, expected: Mapping[str, str], unsteady: frozenset[tuple[str, str]] = frozenset()
) -> Verification:
    """Believe a plain run only if status and report agree and no test that counted before is gone or skipped now.

    The parameters of tests that are `unsteady` change from run to run; of these only the number must be the same.
    """

    def named(test: tuple[str, str]) -> tuple[str, str]:
        return without_parameters(test) if without_parameters(test) in unsteady else test

    if run.timed_out:
        return Verification(False, "pytest did not end in time", {}, run.wall_s, late=True)
    if run.cases is None:
        return Verification(False, f"pytest ended with status {run.exit} and left no report", {}, run.wall_s)
    cases = [case for case in run.cases if case[0] or case[2] != "s"]  # without a class: a module skipped as a whole
    outcomes = {(cls, name): letter for cls, name, letter in cases}
    wanted = Counter(named(junit_name(test)) for test in expected)
    if Counter(named((cls, name)) for cls, name, _ in cases) != wanted:
        return Verification(False, OTHER_TESTS, outcomes, run.wall_s)
    bad = sorted(f"{cls}::{name}" for cls, name, letter in cases if letter not in ("p", "s"))
    if bad:
        return Verification(False, f"{len(bad)} tests fail in a plain run: {', '.join(bad[:3])}", outcomes, run.wall_s)
    hidden = Counter(named(junit_name(test)) for test, was in expected.items() if was not in ("s", "x"))
    hidden -= Counter(named((cls, name)) for cls, name, letter in cases if letter == "p")
    if hidden:
        why = f"{hidden.total()} tests are skipped now: {'::'.join(min(hidden))}"
        return Verification(False, why, outcomes, run.wall_s)
    if run.exit != 0:
        return Verification(False, f"all tests pass, yet pytest ended with status {run.exit}", outcomes, run.wall_s)
    return Verification(True, "", outcomes, run.wall_s)


def without_parameters(test: tuple[str, str]) -> tuple[str, str]:
    """Return the JUnit name of a test function for that of one of its parametrisations."""
    return test[0], test[1].partition("[")[0]


def unsteady_between(one: Iterable[str], other: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return the tests whose parameters differ between two collections of the same files."""
    differing = set(one) ^ set(other)
    return frozenset(without_parameters(junit_name(test)) for test in differing if "[" in test)


def junit_name(test: str) -> tuple[str, str]:
    """Return (class name, name) of a test id in a JUnit report (`_pytest.junitxml.mangle_test_address`)."""
    path, bracket, parameters = test.partition("[")
    names = path.split("::")
    names[0] = re.sub(r"\.py$", "", names[0].replace("/", "."))
    names[-1] += bracket + parameters
    return ".".join(names[:-1]), re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff￾￿]", _escaped, names[-1])


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"#x{code:02X}" if code <= 0xFF else f"#x{code:04X}"
