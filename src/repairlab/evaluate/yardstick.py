"""yardstick: the declared benchmark by which challenger and champion are timed, and what its runs say before any time.

A benchmark is one Python file of a bundle, run as a program in the bundle's directory. It ends with status 0 and prints
what it has computed. The champion's stands where it has one, so that no challenger is measured by what it has brought;
else the challenger's. Everything beside the code (the benchmark, tests, data) is the same bytes for both.

The code that is timed runs in the benchmark's process and could end it early. What both print is therefore compared:
who prints something else has done something else, and no time of his is believed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repairlab.documents import Decision
from repairlab.evaluate.sides import Side
from repairlab.trial.runs import Run

Objection = tuple[Decision, str]


@dataclass(frozen=True)
class Yardstick:
    """A benchmark, with all files that are the same for whoever is measured by it."""

    path: str
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, ours: Side, theirs: Side | None = None) -> "Yardstick | None":
        """Return the benchmark that decides between challenger and champion, None where neither declares one."""
        side = next((side for side in (theirs, ours) if side is not None and side.bundle.benchmark), None)
        return None if side is None else cls(side.bundle.benchmark, side.tests)

    def beside(self, code: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return what is run: the code of one contestant with everything else of this benchmark's bundle."""
        return {**code, **self.files}


def unfit(run: Run) -> str:
    """Return why a run measures nothing, "" where it does."""
    if run.timed_out:
        return "does not end in time"
    if run.exit != 0:
        return f"ends with status {run.exit}: {run.output.strip()[-200:] or run.why or 'it says nothing'}"
    return "" if run.output.strip() else "prints nothing: let it print what it has computed"


def fault(runs: Sequence[Run]) -> Objection | None:
    """Return what is wrong with the runs of one contestant, None where they may be compared with another's."""
    faults = [why for run in runs if (why := unfit(run))]
    if faults:
        return Decision.INCORRECT if len(faults) == len(runs) else Decision.UNSTABLE, f"the benchmark {faults[0]}"
    if len({run.output for run in runs}) > 1:
        return (
            Decision.UNSTABLE,
            "the benchmark prints something else each time: let it print what it computes, no times",
        )
    return None


def objection(ours: Sequence[Run], theirs: Sequence[Run]) -> Objection | None:
    """Return what decides without any time, None where times may be compared.

    A champion that does not come to its end in time has been measured: it takes that long at least.
    """
    ended = [run for run in theirs if not run.timed_out]
    if wrong := fault(ended):
        return Decision.NOT_BETTER, f"the champion cannot be measured: {wrong[1]}"
    if wrong := fault(ours):
        return wrong if ended else (Decision.NOT_BETTER, f"neither can be measured: {wrong[1]}")
    if ended and ended[0].output != ours[0].output:
        return Decision.NOT_BETTER, "it answers the benchmark otherwise than the champion, so no time is compared"
    return None
