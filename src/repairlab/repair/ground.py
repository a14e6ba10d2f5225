"""ground: what the baseline tells the search: the tests in their order, and what each may cost under a candidate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repairlab.trial.testrun import Line, TestRun

LEAST_S = 0.01  # CPU that any test may use under a candidate
USUAL_S = 0.005  # what a candidate costs, for the account of what may be spent on more time (a clock would not repeat)


@dataclass(frozen=True)
class Ground:
    """What the baseline found out: tests with coverage, their order for the server, the CPU allowance of each."""

    tests: Sequence[TestRun]
    order: Sequence[int]
    failing: int
    allow: Sequence[float]


def allowances(tests: Sequence[TestRun]) -> list[float]:
    """Return the CPU seconds that each test may use under a candidate.

    Generous beside what it used, but small: a search meets many endless loops, and what runs out of time is tried again
    with more when nothing else helps (`MORE_TIME`). A test that fails at once says little about what a fix needs, so
    its passing peers count too.
    """
    passing = sorted(test.cpu_s for test in tests if not test.failing)
    usual = passing[len(passing) // 2] if passing else 0.0
    return [
        max(LEAST_S, 10 * (usual if test.outcome in ("hang", "died") else max(test.cpu_s, usual))) for test in tests
    ]


def order_of(tests: Sequence[TestRun]) -> tuple[list[int], int]:
    """Return the tests in the order that settles a candidate soonest, and how many of them fail at baseline.

    Times count in tenths of a second: below, they are noise, and the order must not change from run to run. Of equally
    quick passing tests, those go first that run most of what the failing ones run: a wrong candidate breaks those.
    """
    failing = [index for index, test in enumerate(tests) if test.failing]
    failing.sort(key=lambda index: (tests[index].outcome == "hang", round(tests[index].cpu_s, 1), index))
    run = {line for index in failing for line in tests[index].lines}
    shared = {index: sum(line in run for line in test.lines) for index, test in enumerate(tests) if not test.failing}
    passing = sorted(shared, key=lambda index: (round(tests[index].cpu_s, 1), -shared[index], index))
    return [*failing, *passing], len(failing)


def suspects(lines: Mapping[Line, float], shown: int) -> list[tuple[Line, float]]:
    """Return the most suspicious lines."""
    return sorted(lines.items(), key=lambda item: (-item[1], item[0]))[:shown]


def reach(tests: Sequence[TestRun], order: Sequence[int], wall_s: float) -> int:
    """Return how many candidates an attempt of `wall_s` may be expected to try; no measure, since it must repeat."""
    return int(wall_s / (USUAL_S + round(tests[order[0]].cpu_s, 1)))
