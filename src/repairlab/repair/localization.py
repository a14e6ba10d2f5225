"""localization: which lines the failing tests blame.

Ochiai over the per-test coverage of the editable files (Abreu, Zoeteweij, van Gemund, PRDC 2006): a line is suspicious
in so far as failing tests run it and passing tests do not. Of a failing test that calls the code many times, the last
call counts as failing and, for less, the others as passing: what they returned was used and asserted, and the test went
on (a poor man's test case purification: Xuan and Monperrus, FSE 2014). Lines of the failing test's own traceback weigh
more (the innermost most); in a test that never ends, so do the lines that it ran over and over.
"""

import builtins
import math
from collections import defaultdict
from collections.abc import Iterable

from repairlab.trial.testrun import Line, TestRun

SET_UP = 0.5  # of a failing test, for lines that only its earlier calls ran: they may have built what fails now
HELD, MOST_HELD = 0.25, 4  # of a passing test, for each earlier call of a failing one; and how many of them count
CRASH_BONUS = 0.5  # of what is missing to 1, for the innermost editable frame; halved for each frame out
LOOP_HITS = 1000


def ochiai(failing: Iterable[TestRun], passing: Iterable[TestRun]) -> dict[Line, float]:
    """Return the suspiciousness, in (0, 1], of each line that a failing test runs."""
    failed: defaultdict[Line, float] = defaultdict(float)
    passed: defaultdict[Line, float] = defaultdict(float)
    total = 0
    for run in failing:
        total += 1
        for line in run.lines:
            last, earlier = run.earlier.get(line, (True, 0))
            failed[line] += 1 if last else SET_UP
            passed[line] += HELD * min(earlier, MOST_HELD)
    for run in passing:
        for line in run.lines:
            passed[line] += 1
    return {line: hits / math.sqrt(total * (hits + passed[line])) for line, hits in failed.items()}


def suspicious(failing: Iterable[TestRun], passing: Iterable[TestRun]) -> dict[Line, float]:
    """Return Ochiai's suspiciousness raised by crash frames and by endless loops."""
    failing = list(failing)
    scores = ochiai(failing, passing)
    for run in failing:
        share = CRASH_BONUS
        for line in reversed(run.crash):
            _raise(scores, line, share)
            share /= 2
        if run.outcome == "hang":
            for line, hits in run.lines.items():
                if hits >= LOOP_HITS:
                    _raise(scores, line, CRASH_BONUS / 2)
    return scores


def raised(runs: Iterable[TestRun]) -> dict[Line, str]:
    """Return the built-in exception, if it is one, that failing tests raised through a line (the first's, if many)."""
    found: dict[Line, str] = {}
    for run in runs:
        name = run.message.partition(":")[0]
        kind = getattr(builtins, name, None) if name.isidentifier() else None
        if run.failing and isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError:
            for line in run.crash:
                found.setdefault(line, name)
    return found


def _raise(scores: dict[Line, float], line: Line, share: float) -> None:
    known = scores.get(line, 0.0)
    scores[line] = known + (1 - known) * share
